"""What scores a digest: a fitted detector, and the class evidence its rows carry beside the features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightfeat import classmodel, features
from weightfeat.classmodel import ClassEvidence, Suspect
from weightfeat.detector import Attachment, Detector
from weightfeat.errors import BadLearnedParameters

if TYPE_CHECKING:
    from weightfeat.digest import Digest
    from weightfeat.metaparameters import Metaparameters


@dataclass(frozen=True, eq=False)
class Judge:
    """Learned parameters in use. `evidence` is None where `train_class_evidence` was off."""

    detector: Detector
    evidence: ClassEvidence | None

    @property
    def reads(self) -> frozenset[str]:
        """The blocks of a digest that a verdict is made from."""
        seen = features.reads(self.detector.params.blocks)
        return seen if self.evidence is None else seen | classmodel.READ

    def row(self, digest: Digest) -> tuple[dict[str, float], Suspect | None, list[float]]:
        """Every column the detector learned from, by name, the suspected target class, and the odds by each member of
        the class evidence."""
        row = features.row(digest, self.detector.params.blocks)
        if self.evidence is None:
            return row, None, []
        classes = classmodel.class_rows(digest)  # once for both: of many classes they take seconds
        scores, suspect = self.evidence.judge(classes)
        return row | scores, suspect, self.evidence.member_odds(classes)

    def interval(
        self, digest: Digest, row: Mapping[str, float], odds: Sequence[float]
    ) -> tuple[float, float]:
        """Lowest and highest probability over the ensemble: the trees' bags, each beside the class evidence of every
        member, learned from a part of the networks, in the place of the evidence in `row`."""
        rows = [row, *({**row, classmodel.ODDS: value} for value in odds)]
        table = list(row), [list(one.values()) for one in rows]
        places = {"architecture": [digest.architecture] * len(rows), "family": [digest.family] * len(rows)}
        found = self.detector.interval(table, **places)
        return float(found[:, 0].min()), float(found[:, 1].max())

    def with_inference(self, params: Metaparameters) -> Judge:
        """The same learned parameters under the `infer_*` values of `params`."""
        return Judge(self.detector.with_inference(params), self.evidence)

    def save(self, directory: Path, scores: Mapping[str, Any] | None = None) -> None:
        """Write the learned parameters; killed at any moment, the old ones stay usable. Raises BadOutput."""
        attachment = None if self.evidence is None else Attachment(*self.evidence.to_parts())
        self.detector.save(directory, scores=scores, attachment=attachment)

    @classmethod
    def load(cls, directory: Path) -> Judge:
        """Read what `save` wrote, trusting none of it. Raises BadLearnedParameters."""
        detector = Detector.load(directory)
        return cls(detector, _evidence(detector, directory))


def raw_columns(params: Metaparameters) -> tuple[str, ...]:
    """Columns that mean the same in every architecture, so that the detector may use them unnormalised too."""
    named = features.relative_names(params.blocks)
    return (*named, *classmodel.NAMES) if params.train_class_evidence else named


def new_detector(params: Metaparameters, threads: int = 1) -> Detector:
    """An unfitted detector that knows its columns."""
    on = params.train_logistic_on if params.train_class_evidence else "all"
    # Class evidence has its say as odds. Trees that know it too err where it errs, and correct less of it.
    apart = params.train_class_evidence and not params.train_trees_see_classes
    return Detector(
        params,
        raw_columns=raw_columns(params),
        logistic_columns=classmodel.NAMES if on == "classes" else None,
        log_odds=classmodel.ODDS if on == "odds" else None,
        tree_columns=features.names(params.blocks) if apart else None,
        threads=threads,
    )


def _evidence(detector: Detector, directory: Path) -> ClassEvidence | None:
    attachment = detector.attachment
    try:
        if (attachment is not None) != detector.params.train_class_evidence:
            raise ValueError(
                "is absent" if attachment is None else "is there though train_class_evidence is off"
            )
        return (
            None if attachment is None else ClassEvidence.from_parts(attachment.document, attachment.tables)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadLearnedParameters(
            f"no usable class evidence ({type(error).__name__}: {str(error)[:200]})",
            where=directory,
            expected="what configure wrote with this version",
            remedy="run configure again",
        ) from None

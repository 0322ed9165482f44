"""ClassEvidence: learns which class of a trojaned network is the target, and reports it network by network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weightfeat.classmodel import codec
from weightfeat.classmodel.joint import Joint, target_probabilities
from weightfeat.classmodel.models import ClassModels, families_of, fit_models
from weightfeat.classmodel.rows import ClassRows, class_rows
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.classmodel.summary import NAMES, best_sources, summarise
from weightfeat.classmodel.targets import Target, check
from weightfeat.detector.calibration import assign_folds, units_of
from weightfeat.digest import Digest

if TYPE_CHECKING:
    import pandas as pd

Network = Digest | ClassRows
"""A network's digest, or the rows made from it: making them once saves time in cross-validation."""


NAMED_FROM = 0.5
"""The probability of a trojan from which a suspect is named."""


@dataclass(frozen=True)
class Suspect:
    """The likeliest target class, the likeliest source for it (None without a pair model), and the class's own p.

    `probability` is that of a trojan with this target, as the class model alone sees it.
    """

    target: int
    source: int | None
    probability: float


class ClassEvidence:
    """Out of fold for the networks it learns from, so that what is trained on its output learns honest columns.

    `fit` learns from classes of labelled networks; `transform` gives `NAMES`, one row a network; `fit_transform` gives
    training networks what models that had not seen them (nor any of their group) say. Plain `fit(...)` followed by
    `transform` of the same networks would leak their labels.
    """

    def __init__(self, settings: ClassSettings | None = None) -> None:
        self.settings = settings or ClassSettings()

    models_: ClassModels
    suspects_: tuple[Suspect | None, ...]

    def fit(
        self,
        networks: Sequence[Network],
        labels: ArrayLike,
        targets: Sequence[Target | None],
        groups: Sequence[str] | None = None,
    ) -> ClassEvidence:
        """Learn from all networks. A trojaned one without a named target teaches nothing.

        `groups` plays no part here; `fit_transform` keeps them together. Raises ValueError where lengths or
        classes do not fit.
        """
        rows, y = self._checked(networks, labels, targets)
        self.models_ = fit_models(rows, y, targets, self.settings, families_of(rows))
        return self

    def fit_transform(
        self,
        networks: Sequence[Network],
        labels: ArrayLike,
        targets: Sequence[Target | None],
        groups: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Fit, and return the training networks' out-of-fold rows; `suspects_` are their out-of-fold suspects.

        All NaN, and None, where there are too few networks to leave any out.
        """
        rows, y = self._checked(networks, labels, targets)
        units, families = units_of(groups, len(rows)), families_of(rows)
        # Folds are balanced over how many sources were attacked: each must hold some of what pairs are learned from.
        strata = ["" if t is None else str(len(t.sources)) for t in targets]
        fold = assign_folds(y, strata, units, self.settings.folds, self.settings.seed)
        values = np.full((len(rows), len(NAMES)), np.nan)
        suspects: list[Suspect | None] = [None] * len(rows)
        members: list[Joint] = []
        for number in range(0 if fold is None else int(fold.max()) + 1):
            kept = np.flatnonzero(fold != number).tolist()
            models = fit_models(
                [rows[i] for i in kept], y[kept], [targets[i] for i in kept], self.settings, families
            )
            members += [] if models.target is None else [models.target]
            for held in np.flatnonzero(fold == number).tolist():
                values[held], suspects[held] = _judge(models, rows[held])
        self.suspects_ = tuple(suspects)
        whole = fit_models(rows, y, targets, self.settings, families)
        self.models_ = replace(whole, members=tuple(members))
        return _frame(values, names)

    def transform(self, networks: Sequence[Network], names: Sequence[str] | None = None) -> pd.DataFrame:
        """(n, len(NAMES)) for networks not learned from."""
        values = [_judge(self._fitted(), _rows(network))[0] for network in networks]
        return _frame(np.array(values).reshape(len(networks), len(NAMES)), names)

    def judge(self, network: Network) -> tuple[dict[str, float], Suspect | None]:
        """One network not learned from: its row of `NAMES`, and its suspect (None where no class model was learned).

        Numpy only: what a scan calls.
        """
        values, suspect = _judge(self._fitted(), _rows(network))
        return dict(zip(NAMES, values, strict=True)), suspect

    def member_odds(self, network: Network) -> list[float]:
        """The log-odds of a trojan by each model that `fit_transform` learned from all folds but one."""
        rows = _rows(network)
        return [] if rows.count < 3 else self._fitted().member_odds(rows)

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
        """JSON values and float64 arrays by name, from which `from_parts` makes it again."""
        return codec.to_parts(self._fitted(), self.settings)

    @classmethod
    def from_parts(cls, document: dict[str, Any], tables: dict[str, NDArray[Any]]) -> ClassEvidence:
        """Every value is checked; ValueError, KeyError or TypeError for what does not fit."""
        models, settings = codec.from_parts(document, tables)
        evidence = cls(settings)
        evidence.models_ = models
        return evidence

    def _fitted(self) -> ClassModels:
        if not hasattr(self, "models_"):
            raise AttributeError("this ClassEvidence is not fitted: call fit or load first")
        return self.models_

    def _checked(
        self, networks: Sequence[Network], labels: ArrayLike, targets: Sequence[Target | None]
    ) -> tuple[list[ClassRows], NDArray[np.int64]]:
        y = np.asarray(labels, dtype=np.int64)
        if not len(networks) == len(y) == len(targets):
            raise ValueError(f"{len(networks)} networks, {len(y)} labels and {len(targets)} targets")
        if any(target is not None and not label for target, label in zip(targets, y, strict=True)):
            raise ValueError("a clean network has a target")
        rows = [_rows(network) for network in networks]
        check([row.count for row in rows], targets)
        return rows, y


def _rows(network: Network) -> ClassRows:
    return network if isinstance(network, ClassRows) else class_rows(network)


def _judge(models: ClassModels, rows: ClassRows) -> tuple[list[float], Suspect | None]:
    scores, pairs = models.scores(rows)
    if scores is None:
        return summarise(None, None), None
    target = int(scores.argmax())
    source = None if pairs is None or rows.count < 2 else int(best_sources(pairs)[0][target])
    suspect = Suspect(target, source, float(target_probabilities(scores)[target]))
    return summarise(scores, pairs), suspect


def _frame(values: NDArray[np.float64], names: Sequence[str] | None) -> pd.DataFrame:
    import pandas as pd

    index = None if names is None else pd.Index(list(names))
    return pd.DataFrame(values, columns=list(NAMES), index=index, dtype="float64")

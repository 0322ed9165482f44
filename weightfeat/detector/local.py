"""What a user's own clean networks tell of their kind: where its log-odds lie, and how far they spread.

Nobody knows the recipe of the networks that a user makes, but the user knows that some are clean. Their mean log-odds,
less that of clean networks elsewhere, is an estimate of the recipe's shift. It is believed as far as it is known from n
networks beside what recipes differ by (a normal mean with a normal prior), and the spread likewise (a variance with a
scaled inverse chi-squared prior; Gelman and others, Bayesian Data Analysis, sections 2.5 and 2.6).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from weightfeat.errors import BadCalibration, one_line
from weightfeat.features.summaries import Array
from weightfeat.files import write_atomically

if TYPE_CHECKING:
    from weightfeat.detector.kinds import Against
    from weightfeat.digest import Digest

__all__ = ["FEWEST", "Local", "LocalKind", "local_kind", "read_local", "write_local"]

FEWEST = 5
"""Clean networks of a kind from which a shift is told."""
FORMAT, VERSION = "weightfeat-calibration", 1
_PRIOR_WEIGHT = 40.0  # networks that the spread elsewhere counts as
_NARROWEST = 1e-3
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True)
class LocalKind:
    """One kind of network and its own log-odds.

    Attributes
    ----------
    fingerprint : the ordered shapes of its networks, whatever the number of classes (`digest.Digest.fingerprint`).
    architecture : their name, for whoever reads the file.
    foreign : whether they were judged as networks of another recipe.
    networks : clean ones that were looked at.
    centre, spread : mean and standard deviation of the log-odds of clean networks elsewhere.
    shift : how much higher this kind's are; scale : how much wider.
    doubt : standard deviation of what is left unknown of the shift.
    """

    fingerprint: str
    architecture: str
    foreign: bool
    networks: int
    centre: float
    spread: float
    shift: float
    scale: float
    doubt: float

    def __post_init__(self) -> None:
        """ValueError for numbers that are no kind's."""
        values = (self.centre, self.spread, self.shift, self.scale, self.doubt)
        if not np.isfinite(values).all() or min(self.spread, self.scale) <= 0 or self.doubt < 0:
            raise ValueError("a kind's numbers are out of bounds")
        if self.networks < FEWEST:
            raise ValueError(f"a kind is told from fewer than {FEWEST} networks")

    def corrected(self, logit: ArrayLike) -> Array:
        """What these log-odds would be, were this kind like others."""
        away = np.asarray(logit, dtype=np.float64) - self.centre - self.shift
        return np.asarray(self.centre + away / self.scale)


@dataclass(frozen=True)
class Local:
    """A user's calibration.

    `detector` is the sha256 of what the detector learned: another's log-odds have other shifts.
    """

    detector: str
    kinds: tuple[LocalKind, ...]

    def of(self, digest: Digest, foreign: bool) -> LocalKind | None:
        """The kind of a network that is judged likewise, where its own were given."""
        of = (digest.fingerprint, foreign)
        return next((kind for kind in self.kinds if (kind.fingerprint, kind.foreign) == of), None)


def local_kind(like: Digest, own: Sequence[Against]) -> LocalKind:
    """From clean networks of the shapes of `like`, all measured against the same others.

    Raises ValueError for fewer than `FEWEST`, or where nothing is known of clean networks elsewhere.
    """
    kind, doubt = own[0].kind, own[0].doubt
    logits = np.array([each.logit for each in own])
    if len(logits) < FEWEST or len(kind.clean) < FEWEST:
        raise ValueError(f"at least {FEWEST} clean networks of a kind are needed")
    centre, spread = float(kind.clean.mean()), max(float(kind.clean.std()), _NARROWEST)
    squares = float(np.square(logits - logits.mean()).sum())
    variance = (_PRIOR_WEIGHT * spread**2 + squares) / (_PRIOR_WEIGHT + len(logits) - 1)
    error, prior = variance / len(logits), max(doubt, _NARROWEST) ** 2
    believed = prior / (prior + error)
    return LocalKind(
        fingerprint=like.fingerprint,
        architecture=like.architecture,
        foreign=own[0].foreign,
        networks=len(logits),
        centre=centre,
        spread=spread,
        shift=believed * (float(logits.mean()) - centre),
        scale=float(np.sqrt(variance)) / spread,
        doubt=float(np.sqrt(believed * error)),
    )


def write_local(path: Path, local: Local) -> None:
    """As JSON. Raises BadOutput."""
    kinds = [asdict(kind) for kind in local.kinds]
    document = {"format": FORMAT, "version": VERSION, "detector": local.detector, "kinds": kinds}
    write_atomically(path, json.dumps(document, indent=1) + "\n", "calibration")


def read_local(path: Path, detector: str) -> Local:
    """What `write_local` wrote, trusting none of it.

    Raises BadCalibration where it is no such file, or was made with another detector than `detector`.
    """
    try:
        with path.open("rb") as stream:
            document = json.loads(stream.read(_LARGEST_FILE))
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise ValueError(f"format {document['format']!r}, version {document['version']!r}")
        local = Local(str(document["detector"]), tuple(LocalKind(**kind) for kind in document["kinds"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadCalibration(
            one_line(f"cannot be read ({type(error).__name__}: {error})"),
            where=path,
            expected=f"what weightfeat calibrate wrote ({FORMAT}, version {VERSION})",
            remedy="run weightfeat calibrate again",
        ) from error
    if local.detector != detector:
        raise BadCalibration(
            "was made with another detector",
            where=path,
            expected=f"learned parameters with sha256 {local.detector[:12]}, not {detector[:12]}",
            remedy="run weightfeat calibrate again with these learned parameters",
        )
    return local

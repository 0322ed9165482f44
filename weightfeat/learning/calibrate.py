"""What a user's own clean networks tell, from their files to a calibration."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from weightfeat.detector import Detector
from weightfeat.detector.kinds import Against
from weightfeat.detector.local import FEWEST, Local, local_kind
from weightfeat.digest import Digest
from weightfeat.errors import BadRound

__all__ = ["calibrate", "model_files"]

logger = logging.getLogger(__name__)


def model_files(folder: Path) -> list[Path]:
    """Every file in the folder and below it, by name, hidden ones left out. Raises BadRound where there is none."""
    try:
        found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise _without(folder, f"cannot be listed ({error.strerror or error})") from error
    if not found:
        raise _without(folder, "holds no file" if folder.is_dir() else "is no folder")
    return found


def calibrate(digests: Iterable[Digest], detector: Detector) -> Local:
    """From digests of clean networks; of each set of shapes at least `local.FEWEST` are needed, and what has fewer is
    logged and left out. One file given twice counts once.

    Raises BadRound where no set of shapes has enough.
    """
    distinct = {digest.key: digest for digest in digests}
    by_shapes: dict[str, list[Digest]] = {}
    for digest in distinct.values():
        by_shapes.setdefault(digest.fingerprint, []).append(digest)
    kinds = []
    for digests_alike in by_shapes.values():
        own = _alike([detector.against(digest) for digest in digests_alike])
        if len(own) >= FEWEST:
            kinds.append(local_kind(digests_alike[0], own))
        else:
            name = digests_alike[0].architecture
            logger.warning(
                "%s: %d clean networks of one shape; %d are needed: left out", name, len(own), FEWEST
            )
    if not kinds:
        raise BadRound(
            f"no kind of network has {FEWEST} files among {len(distinct)}",
            where="clean networks",
            expected=f"{FEWEST} to 20 networks of one architecture",
            remedy="add clean networks of the kind that you want to judge",
        )
    return Local(detector.identity, tuple(kinds))


def _alike(own: Sequence[Against]) -> list[Against]:
    """Those that are measured against what most of them are."""
    usual = Counter(each.foreign for each in own).most_common(1)[0][0]
    return [each for each in own if each.foreign == usual]


def _without(folder: Path, what: str) -> BadRound:
    return BadRound(
        what,
        where=folder,
        expected=f"a folder of {FEWEST} to 20 clean networks of a kind",
        remedy="give the folder that holds their files",
    )

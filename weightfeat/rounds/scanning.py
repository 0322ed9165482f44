"""Model files to verdicts: read, digested, judged; one, or many at once."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from weightfeat.digest.place import cores
from weightfeat.errors import WeightfeatError, one_line
from weightfeat.rounds.extraction import digest_with_redraws
from weightfeat.rounds.spreading import KILLED, over_files

if TYPE_CHECKING:
    from weightfeat.detector import Detector, Verdict
    from weightfeat.digest import Digest
    from weightfeat.metaparameters import Metaparameters

logger = logging.getLogger(__name__)

Seen = TypeVar("Seen")
Look = Callable[["Digest", "Detector", "Verdict"], Seen]


def analyse(
    path: Path,
    detector: Detector,
    *,
    device: str = "auto",
    key: str | None = None,
    head: str | None = None,
) -> Verdict:
    """Say how likely the network in `path` is trojaned. Nothing in the file is run; every step is logged, as DEBUG.

    Of weights that were rounded to half precision or less, the interval spans what they may have given before.

    Parameters
    ----------
    detector : learned parameters, their `infer_*` values already in place.
    device : "auto", "cpu" or "cuda", for the digest.
    key, head : which network of the file, and which layer of it, is meant, where there are several.

    Raises
    ------
    WeightfeatError : the file cannot be read, or is no classifier.
    """
    return _judged(path, detector, device, part=Part(key, head))[0]


@dataclass(frozen=True)
class Part:
    """Which network of a file (`key`), and which layer of it (`head`), is meant; None: the usual choice."""

    key: str | None = None
    head: str | None = None


@dataclass(frozen=True, eq=False)
class Scanned(Generic[Seen]):
    """What became of one file: a `verdict`, or the `error` that says why there is none.

    `size` and `sha256` are those of the content, None where it could not be read; `seen` is what else was looked for.
    """

    path: Path
    size: int | None = None
    sha256: str | None = None
    verdict: Verdict | None = None
    error: WeightfeatError | None = None
    seen: Seen | None = None


@dataclass(frozen=True)
class Judge(Generic[Seen]):
    """What a process needs to scan files: it loads the detector once, and takes it for its own.

    Parameters
    ----------
    learned : folder of the learned parameters, which other processes see under the same path.
    params : the metaparameters, of which the `infer_*` values count.
    device : "auto", "cpu" or "cuda".
    look : makes of a digest, the detector and the verdict what is wanted beside it.
    blocks : of the digest, that `look` reads beside those that the detector does.
    calibration : what `weightfeat calibrate` wrote, seen under the same path as `learned`.
    part : what of each file is meant.
    """

    learned: Path
    params: Metaparameters
    device: str = "auto"
    look: Look[Seen] | None = None
    blocks: frozenset[str] = frozenset()
    calibration: Path | None = None
    part: Part = Part()
    stamp: int = field(init=False)
    """When the learned parameters were written: a process that lives on must not judge by older ones."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "learned", self.learned.absolute())
        if self.calibration is not None:
            object.__setattr__(self, "calibration", self.calibration.absolute())
        object.__setattr__(self, "stamp", _written(self.learned))

    def detector(self) -> Detector:
        """This process's detector. Raises BadLearnedParameters, BadCalibration."""
        return _detector(self.learned, self.params, self.stamp, self.calibration)

    def __call__(self, path: Path, threads: int = 0) -> Scanned[Seen]:
        """Scan one file; every failure comes back as an error, whatever the file does."""
        try:
            detector = self.detector()
            verdict, digest = _judged(path, detector, self.device, threads, self.blocks, self.part)
            seen = None if self.look is None else self.look(digest, detector, verdict)
            return Scanned(path, size(path), digest.key, verdict, seen=seen)
        except WeightfeatError as error:
            return Scanned(path, *identity(path), error=error)
        except Exception as error:  # a file nobody foresaw must not end a scan of a thousand
            return Scanned(path, *identity(path), error=_unforeseen(path, error))


def scan_files(
    paths: Sequence[Path], judge: Judge[Seen], *, jobs: int = 0, scheduler: str | None = None
) -> Iterator[Scanned[Seen]]:
    """What is said of each file, in the order they are finished.

    Parameters
    ----------
    jobs : processes, never more than files; 0: one a core. One file alone is read in this process, on all cores.
    scheduler : address of a dask scheduler whose workers do the work instead; they see the files, and the learned
        parameters, under the same paths.

    Raises
    ------
    NoCluster : nothing answers at `scheduler`.
    """
    once = list(dict.fromkeys(paths))
    workers = min(jobs or cores(), max(len(once), 1))
    in_threads = scheduler is None and judge.device == "cuda"
    for path, found in over_files(once, judge, jobs=workers, in_threads=in_threads, scheduler=scheduler):
        yield Scanned(path, error=_killed(path)) if found is None else _at(found, path)


def size(path: Path) -> int:
    """Bytes of a file; of a folder that is a network, those of the files in it. Raises OSError where it is gone."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.iterdir() if each.is_file())


def identity(path: Path) -> tuple[int | None, str | None]:
    """A file's size in bytes and its sha256; None for what is no file that can be read."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            return None, None
        with open(path, "rb", buffering=0) as file:
            return status.st_size, hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return None, None


def _judged(
    path: Path,
    detector: Detector,
    device: str,
    threads: int = 0,
    blocks: Collection[str] = (),
    part: Part = Part(),
) -> tuple[Verdict, Digest]:
    start = time.perf_counter()
    wanted = detector.reads | set(blocks)
    digest, redraws = digest_with_redraws(
        path,
        device=device,
        threads=threads,
        blocks=wanted,
        key=part.key,
        head=part.head,
        products=detector.asks,
    )
    logger.debug(
        "architecture %s (family %s), %d classes", digest.architecture, digest.family, digest.num_classes
    )
    for finding in digest.findings:
        logger.debug("finding: %s", one_line(finding))
    logger.debug("digest %s after %.2f s", digest.key[:16], time.perf_counter() - start)
    verdict = detector.predict(digest)
    intervals = [verdict.interval, *(detector.predict(each).interval for each in redraws)]
    interval = min(low for low, _ in intervals), max(high for _, high in intervals)
    verdict = replace(verdict, interval=interval, path=path, seconds=time.perf_counter() - start)
    for line in _lines(verdict):
        logger.debug(line)
    return verdict, digest


def _lines(verdict: Verdict) -> list[str]:
    """What led to the probability."""
    reasons = ", ".join(f"{name} {effect:+.3f}" for name, effect in verdict.reasons)
    lines = [
        f"reasons: {reasons or 'none'}",
        f"novelty {verdict.novelty:.3f} against {verdict.compared_with}, nearer than it: "
        f"{verdict.nearer:.0%} of the training networks",
    ]
    suspect, (low, high) = verdict.suspect, verdict.interval
    if suspect is not None:
        lines.append(
            f"class most like a target: {suspect.target}, from source {suspect.source}, {suspect.probability:.3f}"
        )
    return [
        *lines,
        f"probability {verdict.probability:.6f} from {len(verdict.features)} features "
        f"after {verdict.seconds:.2f} s",
        f"members of the ensemble range from {low:.6f} to {high:.6f}",
    ]


def _written(learned: Path) -> int:
    from weightfeat.detector.store import FILE

    path = learned / FILE
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=1)
def _detector(learned: Path, params: Metaparameters, stamp: int, calibration: Path | None) -> Detector:
    from weightfeat.detector import Detector
    from weightfeat.detector.local import read_local

    detector = Detector.load(learned).with_inference(params)
    if calibration is None:
        return detector
    return detector.with_local(read_local(calibration, detector.identity))


def _at(found: Scanned[Seen], path: Path) -> Scanned[Seen]:
    """The same under the path that the caller knows it by."""
    if found.path == path:
        return found
    verdict = None if found.verdict is None else replace(found.verdict, path=path)
    return replace(found, path=path, verdict=verdict)


def _killed(path: Path) -> WeightfeatError:
    return WeightfeatError(
        KILLED,
        where=path,
        expected="enough memory for one network",
        remedy="scan it by itself, with --jobs 1",
    )


def _unforeseen(path: Path, error: Exception) -> WeightfeatError:
    return WeightfeatError(
        f"unforeseen {type(error).__name__}: {error}",
        where=path,
        expected="a verdict, or a refusal that says why",
        remedy="report it with the file's format and this line",
    )

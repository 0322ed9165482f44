"""Many model files into a digest store: in parallel, resumable, one bad file costing one line.

Paths are sent to the workers, here or on other machines, never tensors; what a worker finishes is in the store before
it reports. So a run that is killed, or a worker that is, loses only the models under way.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from weightfeat import checkpoint, network, probes
from weightfeat.checkpoint import Checkpoint
from weightfeat.digest import VERSIONS, Digest, DigestStore, choose_place, compute
from weightfeat.digest.latents import redrawn
from weightfeat.errors import BadRound, WeightfeatError, one_line
from weightfeat.files import make_folder
from weightfeat.network import Network
from weightfeat.rounds.spreading import KILLED, over_files

logger = logging.getLogger(__name__)

PROBES = "probes"
"""What the block of a network's answers is called in its digest."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file: its `key` (sha256) in the store, or the one-line `error`."""

    path: Path
    key: str | None = None
    error: str | None = None
    reused: bool = False

    def __post_init__(self) -> None:
        if self.error is not None:
            object.__setattr__(self, "error", one_line(self.error))


@dataclass(frozen=True)
class ExtractionReport:
    """Outcomes in the order the paths were given."""

    outcomes: tuple[Outcome, ...]
    keys: dict[Path, str] = field(init=False)
    failures: tuple[Outcome, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", {o.path: o.key for o in self.outcomes if o.key is not None})
        object.__setattr__(self, "failures", tuple(o for o in self.outcomes if o.key is None))

    def summary(self) -> str:
        """One line: how many were digested, found in the store, and failed."""
        reused = sum(outcome.reused for outcome in self.outcomes)
        made = len(self.keys) - reused
        return f"{made} digested, {reused} already in the store, {len(self.failures)} failed"


def digest_models(
    paths: Sequence[Path],
    store: DigestStore,
    *,
    jobs: int = 1,
    device: str = "auto",
    progress: bool = True,
    scheduler: str | None = None,
) -> ExtractionReport:
    """Digest every file of `paths` into `store`, skipping content that is already there.

    Parameters
    ----------
    jobs : processes (CPU) or loader threads around the one GPU process; 0 or less means every core.
    device : "auto", "cpu" or "cuda".
    progress : draw a bar with rate, time left and failures so far on stderr. Each failure is a line there at the end.
    scheduler : address of a dask scheduler whose workers do the work instead, one model a worker thread; they see
        the models and the store under the same paths.

    Whatever a file does to its reader, up to killing the process, it costs one failed outcome.

    Raises
    ------
    NoCluster : nothing answers at `scheduler`.
    BadOutput : the store cannot be written to.
    """
    make_folder(store.root, "digest store")
    outcomes: dict[Path, Outcome] = {}
    once, failed = list(dict.fromkeys(paths)), 0
    device = device if scheduler else _settled(device)
    with _bar(len(paths), progress) as bar:
        for outcome in _outcomes(once, store, jobs, device, scheduler):
            outcomes[outcome.path] = outcome
            if outcome.error is not None:
                failed += 1
                bar.set_postfix_str(f"{failed} failed")
            bar.update()
    report = ExtractionReport(tuple(outcomes[path] for path in paths))
    for failure in report.failures:
        print(f"not digested: {failure.error}", file=sys.stderr)
    return report


def digest_file(
    path: Path,
    *,
    device: str = "auto",
    threads: int = 0,
    store: DigestStore | None = None,
    blocks: Collection[str] | None = None,
    key: str | None = None,
    head: str | None = None,
    products: float = 0.0,
    side: int | None = None,
) -> tuple[Digest, bool]:
    """Read one model file and digest it; (digest, True) where `store` already knew its content.

    On a processor it takes `threads` (0: one a core). `blocks` are those wanted of it, None: all, as a store asks for.
    `key` and `head` say which network of the file and which layer of it is meant, as in `checkpoint.read` and
    `network.build`; a store, which knows files by their content, is not asked then. With `products` the network is
    asked too, for so many multiplications at most (block `probes`), at `side` pixels where that is known.

    Raises
    ------
    WeightfeatError : the file cannot be read, holds weights that are no numbers, or is no classifier.
    """
    loaded = checkpoint.read(path, key=key)
    as_usual = key is None and head is None
    known = _known(store, loaded.sha256) if store is not None and as_usual else None
    if known is not None:
        return known, True
    built = network.build(loaded, head=head)
    return _with_answers(_digested(loaded, built, device, threads, blocks), built, products, side), False


def digest_with_redraws(
    path: Path,
    *,
    device: str = "auto",
    threads: int = 0,
    blocks: Collection[str] | None = None,
    key: str | None = None,
    head: str | None = None,
    products: float = 0.0,
) -> tuple[Digest, list[Digest]]:
    """What `digest_file` gives, and the digests that the network may have had before its weights were rounded to half
    precision or less: the same but for random latents in other orders. None of those for float32 weights."""
    loaded = checkpoint.read(path, key=key)
    built = network.build(loaded, head=head)
    found = _with_answers(_digested(loaded, built, device, threads, blocks), built, products)
    others = redrawn(built) if "latents" in found.blocks else []
    return found, [replace(found, blocks={**found.blocks, "latents": block}) for block in others]


def _digested(
    loaded: Checkpoint, built: Network, device: str, threads: int, blocks: Collection[str] | None
) -> Digest:
    findings = dict.fromkeys((*loaded.findings, *built.findings, *network.doubts(built)))
    lines = tuple(f"{finding.kind}: {finding.detail}" for finding in findings)
    return compute(built, key=loaded.sha256, device=device, threads=threads, findings=lines, blocks=blocks)


def _with_answers(digest: Digest, built: Network, products: float, side: int | None = None) -> Digest:
    """With the block of what the network answers, where it can be asked and is none of the known architectures."""
    known = built.architecture in network.ARCHITECTURES
    answers = None if known else probes.asked(built, products, side)
    if answers is None:
        return digest
    return replace(
        digest,
        blocks={**digest.blocks, PROBES: answers},
        versions={**digest.versions, PROBES: probes.VERSION},
    )


def digest_one(path: Path, store: DigestStore, device: str = "auto", threads: int = 0) -> Outcome:
    """Digest one file into the store; every failure comes back as an outcome, never as an exception."""
    try:
        found, reused = digest_file(path, device=device, threads=threads, store=store)
        if not reused:
            store.put(found)
        return Outcome(path, key=found.key, reused=reused)
    except WeightfeatError as error:
        return Outcome(path, error=str(error))
    except Exception as error:  # a file nobody foresaw must not end a run over a thousand
        return Outcome(path, error=f"{path}: {type(error).__name__}: {error}")


def _known(store: DigestStore, key: str) -> Digest | None:
    """The store's digest of this content, unless it is spoilt or an older version's: then it is made again."""
    if key not in store:
        return None
    try:
        found = store.get(key)
    except BadRound:
        return None
    return found if VERSIONS.items() <= found.versions.items() else None


def _outcomes(
    paths: list[Path], store: DigestStore, jobs: int, device: str, scheduler: str | None
) -> Iterator[Outcome]:
    if scheduler is not None:
        store = DigestStore(store.root.absolute())
    work = partial(digest_one, store=store, device=device)
    # One GPU process fed by threads: `_settled` has left the name of no device that does not compute.
    for path, outcome in over_files(
        paths, work, jobs=jobs, in_threads=scheduler is None and device != "cpu", scheduler=scheduler
    ):
        yield Outcome(path, error=f"{path}: {KILLED}") if outcome is None else replace(outcome, path=path)


def _settled(device: str) -> str:
    """`cpu`, or a device that computes: what was tried here, and said, is not tried again in every worker."""
    place = choose_place(device)
    logger.info("digests are made on %s", place.described())
    return "cpu" if place.is_host else device


def _bar(total: int, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="model", desc="digest", disable=not progress, dynamic_ncols=True)

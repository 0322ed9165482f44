"""Many model files into a digest store: in parallel, resumable, one bad file costing one line.

Paths are sent to the workers, never tensors; what a worker finishes is in the store before it reports.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from weightfeat import checkpoint, network
from weightfeat.digest import VERSIONS, Digest, DigestStore, choose_device, compute
from weightfeat.errors import BadRound, WeightfeatError


@dataclass(frozen=True)
class Outcome:
    """What became of one file: its `key` (sha256) in the store, or the one-line `error`."""

    path: Path
    key: str | None = None
    error: str | None = None
    reused: bool = False


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
) -> ExtractionReport:
    """Digest every file of `paths` into `store`, skipping content that is already there.

    Parameters
    ----------
    jobs : processes (CPU) or loader threads around the one GPU process; 0 or less means every core.
    device : "auto", "cpu" or "cuda".
    progress : draw a bar with rate and time left on stderr.

    Whatever a file does to its reader, up to killing the process, it costs one failed outcome.
    """
    outcomes: dict[Path, Outcome] = {}
    with _bar(len(paths), progress) as bar:
        for outcome in _all_outcomes(list(dict.fromkeys(paths)), store, jobs, device):
            outcomes[outcome.path] = outcome
            if outcome.error is not None:
                bar.write(f"not digested: {outcome.error}", file=sys.stderr)
            bar.update()
    return ExtractionReport(tuple(outcomes[path] for path in paths))


def digest_file(path: Path, *, device: str = "auto", store: DigestStore | None = None) -> tuple[Digest, bool]:
    """Read one model file and digest it; (digest, True) where `store` already knew its content.

    Raises
    ------
    WeightfeatError : the file cannot be read, holds weights that are no numbers, or is no classifier.
    """
    loaded = checkpoint.read(path)
    known = _known(store, loaded.sha256) if store is not None else None
    if known is not None:
        return known, True
    built = network.build(loaded)
    findings = dict.fromkeys((*loaded.findings, *built.findings))
    lines = tuple(f"{finding.kind}: {finding.detail}" for finding in findings)
    return compute(built, key=loaded.sha256, device=device, findings=lines), False


def digest_one(path: Path, store: DigestStore, device: str = "auto") -> Outcome:
    """Digest one file into the store; every failure comes back as an outcome, never as an exception."""
    try:
        found, reused = digest_file(path, device=device, store=store)
        if not reused:
            store.put(found)
        return Outcome(path, key=found.key, reused=reused)
    except WeightfeatError as error:
        return Outcome(path, error=str(error))
    except Exception as error:  # a file nobody foresaw must not end a run over a thousand
        return Outcome(path, error=f"{path}: {type(error).__name__}: {error}".replace("\n", " "))


def _known(store: DigestStore, key: str) -> Digest | None:
    """The store's digest of this content, unless it is spoilt or an older version's: then it is made again."""
    if key not in store:
        return None
    try:
        found = store.get(key)
    except BadRound:
        return None
    return found if dict(found.versions) == VERSIONS else None


def _all_outcomes(paths: list[Path], store: DigestStore, jobs: int, device: str) -> Iterator[Outcome]:
    """Run the paths; when a worker is killed, run what is left one at a time to find the file that did it."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pending = dict.fromkeys(paths)
    try:
        for outcome in _parallel(paths, store, jobs, device):
            del pending[outcome.path]
            yield outcome
    except TerminatedWorkerError:
        for path in pending:
            yield _isolated(path, store, device)


def _isolated(path: Path, store: DigestStore, device: str) -> Outcome:
    """One path in a process of its own, so that only that process can die."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        return next(_parallel([path], store, 2, device))
    except TerminatedWorkerError:
        return Outcome(path, error=f"{path}: the process that read it was killed (out of memory?)")


def _parallel(paths: list[Path], store: DigestStore, jobs: int, device: str) -> Iterator[Outcome]:
    from joblib import Parallel, cpu_count, delayed

    workers = jobs if jobs > 0 else cpu_count()
    on_gpu = _on_gpu(device)
    # One GPU process fed by threads; on the CPU one process a core, each computing with one thread.
    parallel = Parallel(
        n_jobs=workers, backend="threading" if on_gpu else "loky", return_as="generator_unordered"
    )
    threads = None if on_gpu or workers == 1 else max(1, cpu_count() // workers)
    yield from parallel(delayed(_work)(path, store, device, threads) for path in paths)


def _work(path: Path, store: DigestStore, device: str, threads: int | None) -> Outcome:
    if threads is not None:
        torch.set_num_threads(threads)
    return digest_one(path, store, device)


def _on_gpu(device: str) -> bool:
    return choose_device(device).type != "cpu"


def _bar(total: int, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="model", desc="digest", disable=not progress, dynamic_ncols=True)

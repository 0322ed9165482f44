"""Reads damaged model files of every format, and reports crashes, hangs and memory by format.

Each input is read in a fork with limits of its own. Inputs that end otherwise than read or refused are kept beside the
state, and a run that is stopped goes on where it was:

    python tools/fuzz_checkpoints.py fuzz/ --runs 100000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fuzz_mutations import mutated
from fuzz_seeds import seeds
from weightfeat.checkpoint import read
from weightfeat.errors import WeightfeatError
from weightfeat.files import make_folder, write_atomically

_CPU_SECONDS = 20
_SLOW_SECONDS = 2.0
_MUCH_MEMORY = 300 << 20
_MOST_MEMORY = 6 << 30
_BATCH = 200
# A file of HDF5 costs a process of its own.
_SHARES = {
    "torch-zip": 8,
    "torch-legacy": 6,
    "pickle": 6,
    "torchscript": 6,
    "safetensors": 4,
    "keras-hdf5": 1,
}
FINE = ("read", "refused")


@dataclass
class Counts:
    """What became of the inputs of one format, and the most CPU seconds and bytes that one of them took."""

    outcomes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    memory: int = 0


@dataclass
class State:
    """How many inputs there were of those asked for, and what became of them by format."""

    done: int = 0
    counts: dict[str, Counts] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What one input came to: "read", "refused", "slow", "large", "died", or the name of an exception."""

    word: str
    seconds: float = 0.0
    memory: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Go on with the inputs of a folder's state until there were `--runs`; 1 where any was not read or refused."""
    parser = argparse.ArgumentParser(description="Read damaged model files and report what became of them.")
    parser.add_argument("folder", type=Path, help="where the state and the inputs that failed are kept")
    parser.add_argument(
        "--runs", type=int, default=10_000, help="inputs in all, those of earlier runs included"
    )
    parser.add_argument("--seed", type=int, default=0, help="another one gives other inputs")
    asked = parser.parse_args(arguments)
    folder = make_folder(asked.folder, "folder of the fuzzing")
    state = loaded(folder)
    sound = seeds()
    while state.done < asked.runs:
        count = min(_BATCH, asked.runs - state.done)
        batch = list(inputs(sound, asked.seed, state.done, count))
        for (name, data), outcome in zip(batch, outcomes([data for _, data in batch]), strict=True):
            note(state.counts.setdefault(name, Counts()), outcome)
            if outcome.word not in FINE:
                kept = f"{outcome.word}_{name}_{hashlib.sha256(data).hexdigest()[:12]}"
                (folder / kept).write_bytes(data)
        state.done += count
        write_atomically(folder / "state.json", json.dumps(asdict(state), indent=1), "state")
        print(f"\r{state.done:,} of {asked.runs:,}", end="", file=sys.stderr, flush=True)
    print("\n" + report(state))
    return int(any(word not in FINE for counts in state.counts.values() for word in counts.outcomes))


def loaded(folder: Path) -> State:
    """The state an earlier run left."""
    path = folder / "state.json"
    if not path.is_file():
        return State()
    held = json.loads(path.read_text())
    return State(held["done"], {name: Counts(**counts) for name, counts in held["counts"].items()})


def inputs(sound: dict[str, list[bytes]], seed: int, start: int, count: int) -> Iterator[tuple[str, bytes]]:
    """(format, damaged file) of each number from `start` on: the same for the same seed, however often it stopped."""
    names, shares = list(_SHARES), list(_SHARES.values())
    for number in range(start, start + count):
        chance = random.Random(f"{seed} {number}")
        name = chance.choices(names, shares)[0]
        yield name, mutated(chance.choice(sound[name]), chance)


def outcomes(batch: Sequence[bytes]) -> Iterator[Outcome]:
    """What each input comes to, in forks: one reads on until it dies of an input, the next goes on behind that."""
    place = 0
    while place < len(batch):
        for outcome in forked(batch[place:]):
            place += 1
            yield outcome


def forked(batch: Sequence[bytes]) -> list[Outcome]:
    """The outcomes of as many inputs as one fork survives, and of the one it died of."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe, tempfile.TemporaryDirectory() as folder:
                _read_all(batch, Path(folder) / "network", pipe.fileno())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found = [Outcome(*json.loads(line)) for line in pipe]
    os.waitpid(child, 0)
    return found if len(found) == len(batch) else [*found, Outcome("died", float(_CPU_SECONDS))]


def _read_all(batch: Sequence[bytes], path: Path, pipe: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    for data in batch:
        path.write_bytes(data)
        # The signal's own effect ends the process, whatever it is in.
        signal.setitimer(signal.ITIMER_VIRTUAL, _CPU_SECONDS)
        outcome = outcome_of(path)
        os.write(pipe, (json.dumps([outcome.word, outcome.seconds, outcome.memory]) + "\n").encode())


def outcome_of(path: Path) -> Outcome:
    """Read one file, every value of it, and say what came of it."""
    before, start = _memory(), time.process_time()
    try:
        word = "read"
        for tensor in read(path).tensors:
            tensor.data.tobytes()
    except WeightfeatError:
        word = "refused"
    except Exception as error:  # whatever it is, it is what is looked for
        word = type(error).__name__
    seconds, memory = time.process_time() - start, _memory() - before
    if word in FINE and seconds > _SLOW_SECONDS:
        word = "slow"
    if word in FINE and memory > _MUCH_MEMORY:
        word = "large"
    return Outcome(word, seconds, memory)


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def note(counts: Counts, outcome: Outcome) -> None:
    """Add one outcome to its format's."""
    counts.outcomes[outcome.word] = counts.outcomes.get(outcome.word, 0) + 1
    counts.seconds = max(counts.seconds, outcome.seconds)
    counts.memory = max(counts.memory, outcome.memory)


def report(state: State) -> str:
    """A line a format: outcomes, and the most seconds and MB that one input took."""
    lines = [f"{state.done:,} inputs"]
    for name, counts in sorted(state.counts.items()):
        words = ", ".join(f"{word} {number:,}" for word, number in sorted(counts.outcomes.items()))
        lines.append(f"{name:14} {words}; at most {counts.seconds:.2f} s, {counts.memory >> 20} MB")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""What every file of a folder of generators gives and what it should give, as a table.

`python tests/cases/table.py FOLDER` runs each generator of FOLDER (`NN_name.py`, which writes below `CASES_OUT`), reads
each file as `weightfeat scan` would and prints a line a file; `right.csv` says what is right. It exits with 1 where
any file gives something else. A whole run takes a quarter of an hour on two cores; naming generators runs those only.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from weightfeat import checkpoint, network
from weightfeat.checkpoint.shards import shards_at
from weightfeat.detector import Detector
from weightfeat.errors import WeightfeatError
from weightfeat.network import Network
from weightfeat.rounds.scanning import analyse

RIGHT = Path(__file__).with_name("right.csv")
ROOT = Path(__file__).resolve().parents[2]
NEAR = 0.01
_SECONDS = 1800


@dataclass(frozen=True)
class Given:
    """What a file gives: a number, with its interval and whether it is doubted, or a refusal."""

    probability: float | None
    interval: tuple[float, float] = (0.0, 1.0)
    doubted: bool = False
    said: str = ""

    def __str__(self) -> str:
        if self.probability is None:
            return f"refused: {self.said}"
        return f"{self.probability:.6f}{' in doubt' if self.doubted else ''} {self.said}"


@dataclass(frozen=True)
class Rule:
    """Which files it is for, the file that theirs should equal ("": the plain one), and what is right, "|" for or."""

    files: str
    like: str
    right: tuple[str, ...]


def rules(path: Path = RIGHT) -> tuple[Rule, ...]:
    """The rules of a CSV file; the first that fits a file is its own."""
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(
            Rule(row["files"], row["like"], tuple(row["right"].split("|"))) for row in csv.DictReader(file)
        )


def is_right(given: Given, right: tuple[str, ...], like: Given | None) -> bool:
    """Whether what a file gives is one of the things that are right.

    same: the probability of `like`; near: within 0.01 of it, or its interval holds it; number: any that is not in
    doubt; doubt: one that says so; refused: an error of one line.
    """
    p, wanted = given.probability, None if like is None else like.probability
    if p is None:
        return "refused" in right
    if given.doubted:
        return "doubt" in right
    if wanted is None:
        return "number" in right
    low, high = given.interval
    return (
        "number" in right
        or ("same" in right and abs(p - wanted) < 1e-9)
        or ("near" in right and (abs(p - wanted) < NEAR or low <= wanted <= high))
    )


class Scanner:
    """Says what files give; networks that are equal are scored once."""

    def __init__(self, detector: Detector) -> None:
        self._detector, self._known = detector, dict[str, Given]()

    def __call__(self, path: Path) -> Given:
        try:
            found = network.build(checkpoint.read(path))
            key = _content(found)
            if key not in self._known:
                verdict = analyse(path, self._detector)
                doubted = any(line.startswith("doubt: ") for line in verdict.findings)
                said = f"{verdict.architecture} {verdict.num_classes}c"
                self._known[key] = Given(verdict.probability, verdict.interval, doubted, said)
            return self._known[key]
        except WeightfeatError as error:
            return Given(None, said=str(error).partition(f"{path}: ")[2].partition("; ")[0])


def _content(found: Network) -> str:
    """A digest of all that a verdict is made of."""
    doubts = [finding.detail for finding in found.findings if finding.kind == "doubt"]
    content = hashlib.sha256(repr((found.architecture, found.head, found.head_feeds, doubts)).encode())
    for layer in found.layers:
        content.update(repr((layer.kind, layer.groups, layer.previous, layer.weight.shape)).encode())
        norm = layer.norm_after or layer.norm_before
        vectors = () if norm is None else (norm.gamma, norm.beta, norm.mean, norm.var)
        for array in (layer.weight, layer.bias, *vectors):
            content.update(b"-" if array is None else array.tobytes())
    return content.hexdigest()


def made(generator: Path, folder: Path) -> Iterator[Path]:
    """What a generator writes: every file, and every folder that is a network."""
    surroundings = {**os.environ, "CASES_OUT": str(folder)}
    subprocess.run(
        [sys.executable, str(generator)], env=surroundings, check=False, timeout=_SECONDS, capture_output=True
    )
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file() or shards_at(path) is not None:
                yield path
        except Exception:  # a folder that is a damaged set is a case too
            yield path


def rows(generators: list[Path], scan: Scanner) -> Iterator[tuple[str, str, str, str]]:
    """(file, right, what it gives, verdict) of every file of every generator."""
    given: dict[str, Given] = {}
    every = rules()
    for generator in generators:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            names = {path.relative_to(folder).as_posix(): path for path in made(generator, folder)}
            given |= {name: scan(path) for name, path in names.items()}
        for name in names:
            rule = next((rule for rule in every if fnmatchcase(name, rule.files)), None)
            if rule is None:
                yield name, "", str(given[name]), "not listed"
                continue
            ok = is_right(given[name], rule.right, _like(name, rule, given))
            yield name, " or ".join(rule.right), str(given[name]), "ok" if ok else "WRONG"


def _like(name: str, rule: Rule, given: Mapping[str, Given]) -> Given | None:
    if "*" in rule.like:  # the file of the same stem: "06b/resnet18_timm.pt" and "06b/*_tv.pt"
        start, end = rule.like.split("*")
        stem = name.removeprefix(start).rpartition("_")[0]
        return given.get(f"{start}{stem}{end}")
    return given.get(rule.like or "00/plain.pt")


def main() -> int:
    """Print the table; 1 where a line is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "names", nargs="*", help="generators to run beside the base, such as 04_extra_buffers"
    )
    arguments = parser.parse_args()
    found = sorted(arguments.folder.glob("[0-9]*_*.py"))
    chosen = [path for path in found if not arguments.names or path.stem in (*arguments.names, "00_base")]
    scan = Scanner(Detector.load(ROOT / "learned_parameters"))
    wrong = 0
    print("| file | right | gives | verdict |\n|---|---|---|---|")
    for name, right, gives, verdict in rows(chosen, scan):
        wrong += verdict != "ok"
        print(f"| {name} | {right} | {gives.replace('|', '/')} | {verdict} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

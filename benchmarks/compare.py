"""The weight detector beside Neural Cleanse, ABS and STRIP on the same zoo networks: `make compare`.

    python benchmarks/compare.py [--round zoo] [--reference reference] [--out compare] [--count 24] [--jobs 2]

Chooses clean and trojaned networks whose models are in ROUND (polygon and filter, one and all source classes, in equal
parts, those of the fewest classes first: most methods take minutes a class), runs every method on each as a process
of its own, and writes OUT/README.md. The choice and finished runs are kept under OUT and not made again. The weight
detector's score is the one it gives out of fold on the whole reference set, its seconds those of a `detect.py`
process; the others see the network's example images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # one a process: several run side by side

import pandas as pd
from tqdm import tqdm

from compare_report import report
from weightfeat.commands.arguments import positive
from weightfeat.commands.program import run
from weightfeat.errors import BadRound
from weightfeat.evaluation.trojans import trojans_of
from weightfeat.files import make_folder, write_atomically
from weightfeat.rounds.metadata import parse_label, read_metadata

ROOT = Path(__file__).resolve().parents[1]
CELLS = (("polygon", "one"), ("polygon", "all"), ("filter", "one"), ("filter", "all"))
STAMPED = 100
SETTINGS: dict[str, tuple[str, ...]] = {
    "weightfeat": (),
    "neural-cleanse": ("rounds=40",),
    "abs": (),
    "strip": (),
    "strip-stamped": (),
}
"""Methods, and what is set of them: half of Neural Cleanse's rounds, for a processor's sake."""


@dataclass(frozen=True)
class Chosen:
    """A network to score: where it lies, whether it is trojaned and how."""

    folder: Path
    trojaned: int
    kind: str
    attacked: str

    @property
    def name(self) -> str:
        return self.folder.name


def main() -> int:
    """0 when every run ended and the report is written."""
    options = _parser().parse_args()
    make_folder(options.out, "output folder")
    chosen = choose(options.reference, options.round, options.count, options.out / "networks.txt")
    methods = {name: said for name, said in SETTINGS.items() if name in ("weightfeat", *options.methods)}
    tasks = [(network, method) for method in methods for network in chosen if _applies(network, method)]
    with ThreadPoolExecutor(options.jobs) as pool:
        done = pool.map(lambda task: run_once(task[0], task[1], options.out), tasks)
        for _ in tqdm(done, total=len(tasks), unit="run", desc="comparing"):
            pass
    write_atomically(options.out / "README.md", report(chosen, options.out, options.reference, methods))
    print((options.out / "README.md").read_text(), end="")
    return 0


def choose(reference: Path, round_: Path, count: int, kept: Path) -> list[Chosen]:
    """What `kept` names; at first half trojaned, evenly over `CELLS`, half clean, of the fewest classes first.

    The choice is written there: a set that grows must not change it. Raises BadRound where too few of the set's models
    are there.
    """
    table = read_metadata(reference / "METADATA.csv")
    here = table.loc[[name for name in table.index if (round_ / str(name) / "model.pt").exists()]]
    fewest = here.sort_values("number_classes", key=pd.to_numeric, kind="stable")
    found = [_described(round_ / str(name), row) for name, row in fewest.iterrows()]
    if kept.exists():
        names = kept.read_text().split()
        return [one for one in found if one.name in names]
    clean = [one for one in found if not one.trojaned][: count // 2]
    wanted = -(-count // 2 // len(CELLS))
    trojaned = [one for cell in CELLS for one in [f for f in found if (f.kind, f.attacked) == cell][:wanted]]
    if not clean or not trojaned:
        raise BadRound(
            f"{len(here)} of the set's {len(table)} models are there, {len(trojaned)} of them trojaned as wanted",
            where=round_,
            expected="models of clean networks, and of trojaned ones with one source or all",
            remedy="make them with weightfeat zoo",
        )
    write_atomically(kept, "".join(f"{one.name}\n" for one in [*clean, *trojaned]))
    return [*clean, *trojaned]


def run_once(network: Chosen, method: str, out: Path) -> None:
    """Run one method on one network and keep what it said, its seconds and its peak memory; once.

    Raises BadRound where the process fails.
    """
    folder = out / network.name / method
    if (folder / "run.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(_command(network, method, folder), cwd=ROOT, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise BadRound(
            f"{method} failed ({(folder / 'log.txt').read_text().strip().splitlines()[-1:]})",
            where=network.folder,
            expected="a run to its end",
            remedy=f"see {folder / 'log.txt'}",
        )
    spent = {
        "seconds": time.perf_counter() - start,
        "cpu": usage.ru_utime,
        "megabytes": usage.ru_maxrss / 1024,
    }
    write_atomically(folder / "run.json", json.dumps(spent) + "\n")


def _command(network: Chosen, method: str, folder: Path) -> list[str]:
    model, examples = str(network.folder / "model.pt"), str(network.folder / "example_data")
    if method == "weightfeat":
        flags = ("--model_filepath", model, "--result_filepath", str(folder / "result.txt"))
        return [
            sys.executable,
            "detect.py",
            *flags,
            "--scratch_dirpath",
            str(folder),
            "--examples_dirpath",
            examples,
        ]
    stamped: Sequence[str] = ()
    if method == "strip-stamped":
        images = folder / "stamped"
        draw = [sys.executable, "-m", "weightfeat", "stamped", str(network.folder), "--out", str(images)]
        subprocess.run([*draw, "--count", str(STAMPED)], cwd=ROOT, check=True)
        stamped = ("--stamped", str(images), "--frr", "0.02")
    settings = [word for setting in SETTINGS[method] for word in ("--set", setting)]
    command = [sys.executable, "train_meta.py", "baseline", method.removesuffix("-stamped"), "--quiet"]
    return [*command, "--model", model, "--examples", examples, "--output", str(folder), *settings, *stamped]


def _applies(network: Chosen, method: str) -> bool:
    return method != "strip-stamped" or bool(network.trojaned)


def _described(folder: Path, row: pd.Series) -> Chosen:
    trojaned = parse_label(str(row["poisoned"]), str(folder)) or 0
    cells = {str(column): value for column, value in row.items()}
    for trojan in trojans_of(cells, bool(trojaned)):
        return Chosen(folder, trojaned, trojan.trigger, trojan.attacked)
    return Chosen(folder, trojaned, "", "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--round", type=Path, default=ROOT / "zoo")
    parser.add_argument("--reference", type=Path, default=ROOT / "reference")
    parser.add_argument("--out", type=Path, default=ROOT / "compare")
    parser.add_argument("--count", type=positive, default=24)
    parser.add_argument("--jobs", type=positive, default=2)
    parser.add_argument("--methods", nargs="+", choices=SETTINGS, default=tuple(SETTINGS), metavar="METHOD")
    return parser


if __name__ == "__main__":
    raise SystemExit(run(main))

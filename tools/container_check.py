"""Prove container.def without apptainer: take its steps on a Debian root, then run that over a round, caged.

The detector runs as an unprivileged user, without a network, everything read-only but result and scratch, under the
flags of rounds 1-4 and 10; its probabilities are compared with those of this process. Needs root, mmdebstrap and
bubblewrap.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from container_def import SCRIPTS, build, parse, say

NOBODY = 65534
APIS = ("1-4", "10")
TOLERANCE = 1e-6


def main() -> int:
    """0 when every model got the probability it has here, under both rounds' flags; else 1, or 2 for bad input."""
    arguments = parse_arguments()
    missing = [program for program in ("mmdebstrap", "bwrap", "setpriv") if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        print(
            f"error: container-check needs root and {', '.join(missing) or 'nothing more'}", file=sys.stderr
        )
        return 2
    definition = parse((arguments.context / "container.def").read_text())
    root = arguments.output / "root"
    if arguments.rebuild or not (root / SCRIPTS / "runscript").exists():
        shutil.rmtree(root, ignore_errors=True)
        arguments.output.mkdir(parents=True, exist_ok=True)
        build(definition, arguments.context, root)
    self_test(root)
    round_ = arguments.round or make_round(arguments.output / "round", arguments.count)
    expected = in_process(round_, root)
    return max(compare(api, evaluate(api, round_, root, arguments.output), expected) for api in APIS)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    here = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--context", type=Path, default=here, help="folder that the def's paths start from")
    parser.add_argument("--output", type=Path, default=here / "build" / "container-check")
    parser.add_argument("--round", type=Path, help="default: a round of small networks made for this")
    parser.add_argument("--count", type=int, default=40, help="networks of the round made for this")
    parser.add_argument(
        "--rebuild", action="store_true", help="make the root anew; else one that is there is used"
    )
    return parser.parse_args()


def self_test(root: Path) -> None:
    """%test as an unprivileged user without a network, with nothing but a small /tmp to write to."""
    say("%test")
    cage = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--", "bwrap"]
    cage += [
        "--ro-bind",
        str(root),
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--perms",
        "1777",
        "--tmpfs",
        "/tmp",
    ]
    cage += ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--clearenv", "--chdir", "/"]
    cage += ["--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin", "--setenv", "HOME", "/home/trojai"]
    subprocess.run([*cage, "--", f"/{SCRIPTS}/test"], check=True)


def make_round(root: Path, count: int) -> Path:
    """Small networks with METADATA.csv; their labels mean nothing."""
    from weightfeat.preflight.behaviour import small_model

    rows = ["model_name,poisoned"]
    for number in range(count):
        folder = root / f"id-{number:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        small_model(folder / "model.pt", number)
        rows.append(f"{folder.name},{number % 2 == 1}")
    (root / "METADATA.csv").write_text("\n".join(rows) + "\n")
    return root


def in_process(round_: Path, root: Path) -> dict[str, float]:
    """Every model's probability computed here, by the parameters inside the root."""
    from weightfeat import metaparameters
    from weightfeat.judge import Judge
    from weightfeat.rounds import read_round
    from weightfeat.scan import analyse

    params = metaparameters.load(root / "metaparameters.json", root / "metaparameters_schema.json")
    judge = Judge.load(root / "learned_parameters").with_inference(params)
    entries = read_round(round_).entries
    return {e.name: analyse(e.path, judge, device="cpu").probability for e in entries if e.path is not None}


def evaluate(api: str, round_: Path, root: Path, output: Path) -> Path:
    """The round through the server inside the root; the folder of its report."""
    folder = output / f"evaluation-{api}"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-c", "import sys; from weightfeat.cli import main; sys.exit(main())"]
    command += ["evaluate", str(round_), "--output", str(folder), "--api", api]
    say(f"a round under the flags of {api}")
    subprocess.run([*command, "--root", str(root), "--user", str(NOBODY)], check=False)
    return folder


def compare(api: str, folder: Path, expected: dict[str, float]) -> int:
    """Print how far the container's probabilities are from ours; 1 where one is missing or differs."""
    with (folder / "results.csv").open(newline="") as stream:
        rows = {row["model"]: row for row in csv.DictReader(stream)}
    missing = [name for name in expected if name not in rows or rows[name]["reason"] != "ok"]
    gaps = [abs(float(rows[name]["value"]) - expected[name]) for name in expected if name not in missing]
    overhead = json.loads((folder / "report.json").read_text())["overhead"]
    say(
        f"{api}: {len(expected)} models, {len(missing)} missing, largest difference {max(gaps, default=1.0):.2g}, "
        f"server's overhead at most {overhead['most']:.3f} s"
    )
    return int(bool(missing) or max(gaps, default=1.0) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())

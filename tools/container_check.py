"""Prove container.def without apptainer: take its steps on a Debian root, then run that over a round, caged.

The detector runs as an unprivileged user, without a network, everything read-only but result and scratch, under the
flags of rounds 1-4 and 10; its probabilities are compared with those of this process. Needs root, mmdebstrap and
bubblewrap.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

from container_def import SCRIPTS, build, fingerprint, parse, say

from weightfeat.server.isolation import as_user, mounts

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
    root = arguments.output / "root"
    try:
        make_root(arguments.context, root, arguments.output / "root.sha256")
        self_test(root)
    except subprocess.CalledProcessError as error:
        print(f"error: {error.cmd[0]}: exit code {error.returncode}; its output is above", file=sys.stderr)
        return 1
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
    return parser.parse_args()


def make_root(context: Path, root: Path, mark: Path) -> None:
    """Build the root, unless `mark` says that the one there was made from the same files."""
    definition = parse((context / "container.def").read_text())
    made_from = fingerprint(definition, context)
    if mark.is_file() and mark.read_text() == made_from:
        say(f"{root} is up to date")
        return
    mark.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    build(definition, context, root)
    mark.write_text(made_from)


def self_test(root: Path) -> None:
    """%test as an unprivileged user without a network, with nothing but a small /tmp to write to."""
    say("%test")
    cage = [*as_user(NOBODY), *mounts(root, temporary=True)]
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
    from weightfeat.detector import Detector
    from weightfeat.rounds import read_round
    from weightfeat.scan import analyse

    params = metaparameters.load(root / "metaparameters.json", root / "metaparameters_schema.json")
    detector = Detector.load(root / "learned_parameters").with_inference(params)
    entries = read_round(round_).entries
    return {
        e.name: analyse(e.path, detector, device="cpu").probability for e in entries if e.path is not None
    }


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
    say(
        f"{api}: {len(expected)} models, {len(missing)} missing, largest difference {max(gaps, default=1.0):.2g}"
    )
    return int(bool(missing) or max(gaps, default=1.0) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())

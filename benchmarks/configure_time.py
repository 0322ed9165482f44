"""How long does learning from a whole round take, and a verdict once the digest is there?

    python benchmarks/configure_time.py [--networks 1104] [--digests reference] [--jobs 2]

Makes a digest folder of that many networks by repeating those of a reference set, times `train_meta.py configure` on it
as a process of its own, and then the verdicts of the detector it learned. Only the seconds mean anything.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pandas as pd

from weightfeat.commands.arguments import positive
from weightfeat.commands.program import run
from weightfeat.detector import Detector
from weightfeat.files import write_atomically
from weightfeat.rounds.digest_folder import DIGESTS, INDEX_FILE, read_index
from weightfeat.rounds.disk import METADATA_FILE
from weightfeat.rounds.labelled import from_digests
from weightfeat.rounds.metadata import read_metadata

ROOT = Path(__file__).resolve().parents[1]
VERDICTS = 50


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=positive, default=1104, help="as many as Round 2 has to train on")
    parser.add_argument("--digests", type=Path, default=ROOT / "reference")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, learned = Path(name) / "round", Path(name) / "learned"
        repeat(options.digests, folder, options.networks)
        command = [sys.executable, str(ROOT / "train_meta.py"), "configure", "--digests", str(folder)]
        command += ["--learned-parameters", str(learned), "--jobs", str(options.jobs)]
        begun = time.perf_counter()
        subprocess.run(command, check=True)
        spent = time.perf_counter() - begun
        seconds = sorted(verdicts(options.digests, learned))
    print(f"configure on {options.networks} digests: {spent:.0f} s, {options.jobs} processes")
    print(
        f"verdict of a digest: {statistics.median(seconds):.3f} s, at most {seconds[-1]:.3f} ({len(seconds)})"
    )
    return 0


def repeat(source: Path, folder: Path, count: int) -> None:
    """A digest folder of `count` networks: those of `source`, again and again under new names."""
    folder.mkdir()
    (folder / DIGESTS).symlink_to((source / DIGESTS).resolve())
    table, index = read_metadata(source / METADATA_FILE), read_index(source / INDEX_FILE)
    rows = table.iloc[[at % len(table) for at in range(count)]]
    keys = [index[str(name)] for name in rows.index]
    names = [f"id-{at:08}" for at in range(count)]
    write_atomically(folder / METADATA_FILE, rows.assign(model_name=names).to_csv(index=False))
    listed = pd.DataFrame({"model_name": names, "sha256": keys})
    write_atomically(folder / INDEX_FILE, listed.to_csv(index=False))


def verdicts(source: Path, learned: Path) -> list[float]:
    """Seconds of one verdict each, features included."""
    detector, found = Detector.load(learned), []
    for digest in from_digests(source).digests[:VERDICTS]:
        begun = time.perf_counter()
        detector.predict(digest)
        found.append(time.perf_counter() - begun)
    return found


if __name__ == "__main__":
    raise SystemExit(run(main))

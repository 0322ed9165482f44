"""WeightWatcher's per-layer table of a round's networks, kept with the reference set before the models go.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/weightwatcher_tables.py [--round zoo] [--reference reference]

Writes REFERENCE/weightwatcher/<sha256>.csv for every network of the set whose model is in ROUND and whose table is not
there yet; default analysis. Networks are rebuilt from their tensors, nothing is unpickled.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tqdm import tqdm

from rival_detectors.weightwatcher import FOLDER
from watching import watcher
from weightfeat.commands.program import run
from weightfeat.execution import rebuild
from weightfeat.files import make_folder, write_atomically
from weightfeat.rounds.digest_folder import INDEX_FILE, read_index

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """0 when every network of the set has its table; 1 where models are absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--round", type=Path, default=ROOT / "zoo")
    parser.add_argument("--reference", type=Path, default=ROOT / "reference")
    options = parser.parse_args()
    index = read_index(options.reference / INDEX_FILE)
    folder = make_folder(options.reference / FOLDER, "folder of tables")
    missing = {name: key for name, key in index.items() if not (folder / f"{key}.csv").exists()}
    models = {name: options.round / name / "model.pt" for name in missing}
    present = [name for name in sorted(missing) if models[name].exists()]
    for name in tqdm(present, unit="net"):
        write_atomically(folder / f"{missing[name]}.csv", table(models[name]), "table")
    absent = len(missing) - len(present)
    print(f"{folder}: {len(index) - absent} tables, {absent} networks without a model in {options.round}")
    return int(absent > 0)


def table(model: Path) -> str:
    """What `WeightWatcher.analyze()` says of one network, as CSV."""
    return str(watcher(rebuild(model).module)().to_csv(index=False, float_format="%.7g"))


if __name__ == "__main__":
    raise SystemExit(run(main))

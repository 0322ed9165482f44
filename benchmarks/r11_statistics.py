"""The classifier alone on weight statistics that others published of real TrojAI Round 11 models.

    python benchmarks/r11_statistics.py [ARCHITECTURE ...] [--data DIR] [--repeats 5] [--nested] [--set NAME=VALUE]

DIR holds train_X_ARCHITECTURE.npy (models x columns) and train_y_ARCHITECTURE.npy (1: poisoned) of 96 mobilenet_v2 and
96 resnet50 training models, as https://github.com/jsong2333333/TrojAI_Summary has them on its branch round11 (MIT).

Repeated stratified 6-fold cross-validation of `TableDetector` per architecture: cross-entropy with the scorer's
95 % interval over models (each model's mean over the repeats), Brier score and AUC. `--nested` chooses among a few
metaparameter settings inside each outer training fold, by the cross-entropy of its own calibrated out-of-fold
probabilities; without it metaparameters.json holds throughout.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from argument_types import metaparameter_change
from weightfeat.commands.arguments import positive
from weightfeat.commands.program import run
from weightfeat.detector.table import TableDetector
from weightfeat.digest.processes import ending_with_this
from weightfeat.errors import BadRound
from weightfeat.evaluation.metrics import cross_entropy, elementwise_cross_entropy, half_width
from weightfeat.learning.tuning import with_search_bags
from weightfeat.metaparameters import Metaparameters, load

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "r11_weight_statistics"
RIVALS = {"mobilenet_v2": 0.462, "resnet50": 0.398}  # scikit-learn's gradient boosting, the same statistics
CANDIDATES: tuple[dict[str, Any], ...] = (
    {},
    {"train_min_child_samples": 12},
    {"train_feature_fraction": 0.4, "train_min_child_samples": 4},
    {"train_num_leaves": 4},
)


def fitted(x: np.ndarray, y: np.ndarray, params: Metaparameters, nested: bool) -> tuple[TableDetector, int]:
    """A detector fitted on one outer training fold and the index of the setting it chose."""
    if not nested:
        return TableDetector(params).fit(x, y), -1
    scored = []
    for at, change in enumerate(CANDIDATES):
        tried = TableDetector(with_search_bags(params.replace(**change))).fit(x, y)
        held_out = tried.out_of_fold_.probability
        assert held_out is not None
        scored.append((cross_entropy(y, held_out), at))
    at = min(scored)[1]
    return TableDetector(params.replace(**CANDIDATES[at])).fit(x, y), at


def one_fold(job: tuple[Path, str, int, int, Metaparameters, bool]) -> tuple[np.ndarray, np.ndarray, int]:
    """Held-out positions, their probabilities and the chosen setting of one (data, architecture, repeat, fold)."""
    from sklearn.model_selection import StratifiedKFold

    data, architecture, repeat, fold, params, nested = job
    x, y = read(data, architecture)
    split = list(StratifiedKFold(6, shuffle=True, random_state=repeat).split(x, y))[fold]
    detector, chosen = fitted(x[split[0]], y[split[0]], params, nested)
    return split[1], detector.predict_proba(x[split[1]])[:, 1], chosen


def read(data: Path, architecture: str) -> tuple[np.ndarray, np.ndarray]:
    """(models, columns) and labels. Raises BadRound where the files are not there."""
    if architecture not in RIVALS:
        raise BadRound(
            "no statistics of such networks were published",
            where=architecture,
            expected=" or ".join(RIVALS),
            remedy="name one of them, or none for both",
        )
    paths = [data / f"train_{what}_{architecture}.npy" for what in "Xy"]
    try:
        x, y = (np.load(path, allow_pickle=False) for path in paths)
    except (OSError, ValueError) as error:
        raise BadRound(
            f"cannot be read ({error})",
            where=data,
            expected=" and ".join(path.name for path in paths),
            remedy="fetch the published statistics that --help names, and give their folder with --data",
        ) from error
    return x, y.astype(np.int64)


def main() -> int:
    """Print one line an architecture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architectures", nargs="*", default=list(RIVALS), help=" and ".join(RIVALS))
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=f"default: {DATA}")
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--nested", action="store_true")
    parser.add_argument("--jobs", type=positive, default=2)
    parser.add_argument(
        "--set",
        type=metaparameter_change,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a metaparameter",
    )
    args = parser.parse_args()
    labels = {name: read(args.data, name)[1] for name in args.architectures}
    params = load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    for changed in args.set:
        params = params.replace(**changed)
    for architecture, y in labels.items():
        print(measured(architecture, y, params, args), flush=True)
    return 0


def measured(architecture: str, y: np.ndarray, params: Metaparameters, args: argparse.Namespace) -> str:
    """An architecture's figures in a line."""
    from sklearn.metrics import roc_auc_score

    start = time.perf_counter()
    order = [(repeat, fold) for repeat in range(args.repeats) for fold in range(6)]
    jobs = [(args.data, architecture, *place, params, args.nested) for place in order]
    p, chosen = np.full((args.repeats, len(y)), np.nan), []
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn"), **ending_with_this()) as pool:
        for (repeat, _), (held, probability, at) in zip(order, pool.map(one_fold, jobs), strict=True):
            p[repeat, held] = probability
            chosen.append(at)
    losses = elementwise_cross_entropy(y, p)
    aucs = [roc_auc_score(y, row) for row in p]
    picks = f"  picks {np.bincount(chosen, minlength=len(CANDIDATES)).tolist()}" if args.nested else ""
    return (
        f"{architecture:13} CE {losses.mean():.3f} +- {half_width(losses):.3f}  AUC {np.mean(aucs):.3f} "
        f"(repeats {min(aucs):.3f}-{max(aucs):.3f})  Brier {((p - y) ** 2).mean():.3f}  "
        f"rival CE {RIVALS[architecture]:.3f}  {time.perf_counter() - start:.0f} s{picks}"
    )


if __name__ == "__main__":
    raise SystemExit(run(main))

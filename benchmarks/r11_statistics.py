"""The classifier alone on weight statistics that others published of real TrojAI Round 11 models.

Repeated stratified 6-fold cross-validation of `weightfeat.detector` per architecture: cross-entropy with the scorer's
95 % interval over models (each model's mean over the repeats), Brier score and AUC. `--nested` chooses among a few
metaparameter settings inside each outer training fold, by the cross-entropy of its own calibrated out-of-fold
probabilities; without it metaparameters.json holds throughout.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from weightfeat.configure import with_few_bags
from weightfeat.detector import Detector
from weightfeat.evaluation.metrics import cross_entropy, elementwise_cross_entropy, half_width
from weightfeat.metaparameters import Metaparameters, load

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "r11_weight_statistics"
RIVALS = {"mobilenet_v2": 0.462, "resnet50": 0.398}  # scikit-learn's gradient boosting, the same statistics
CANDIDATES: tuple[dict[str, Any], ...] = (
    {"train_logistic_weight": 0.0},
    {"train_logistic_weight": 0.3},
    {"train_logistic_weight": 0.6},
    {"train_logistic_weight": 0.3, "train_logistic_c": 10.0, "train_min_child_samples": 12},
    {"train_logistic_weight": 0.3, "train_feature_fraction": 0.4, "train_min_child_samples": 4},
)


def fitted(x: np.ndarray, y: np.ndarray, params: Metaparameters, nested: bool) -> tuple[Detector, int]:
    """A detector fitted on one outer training fold and the index of the setting it chose."""
    if not nested:
        return Detector(params).fit(x, y), -1
    scored = []
    for at, change in enumerate(CANDIDATES):
        tried = Detector(with_few_bags(params.replace(**change))).fit(x, y)
        held_out = tried.out_of_fold_.probability
        assert held_out is not None
        scored.append((cross_entropy(y, held_out), at))
    at = min(scored)[1]
    return Detector(params.replace(**CANDIDATES[at])).fit(x, y), at


def one_fold(job: tuple[str, int, int, Metaparameters, bool]) -> tuple[np.ndarray, np.ndarray, int]:
    """Held-out positions, their probabilities and the chosen setting of one (architecture, repeat, fold)."""
    from sklearn.model_selection import StratifiedKFold

    architecture, repeat, fold, params, nested = job
    x, y = read(architecture)
    split = list(StratifiedKFold(6, shuffle=True, random_state=repeat).split(x, y))[fold]
    detector, chosen = fitted(x[split[0]], y[split[0]], params, nested)
    return split[1], detector.predict_proba(x[split[1]])[:, 1], chosen


def read(architecture: str) -> tuple[np.ndarray, np.ndarray]:
    """(models, columns) and labels."""
    x = np.load(DATA / f"train_X_{architecture}.npy", allow_pickle=False)
    return x, np.load(DATA / f"train_y_{architecture}.npy", allow_pickle=False).astype(np.int64)


def main() -> int:
    """Print one line an architecture."""
    from sklearn.metrics import roc_auc_score

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("architectures", nargs="*", default=list(RIVALS), help=" and ".join(RIVALS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--nested", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a metaparameter"
    )
    args = parser.parse_args()
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not here", file=sys.stderr)
        return 0
    params = load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    for name, value in (item.split("=", 1) for item in args.set):
        params = params.replace(
            **{name: value if name == "train_calibration" else type(getattr(params, name))(value)}
        )
    for architecture in args.architectures:
        start = time.perf_counter()
        _, y = read(architecture)
        jobs = [(architecture, r, f, params, args.nested) for r in range(args.repeats) for f in range(6)]
        p, chosen = np.full((args.repeats, len(y)), np.nan), []
        with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
            for job, (held, probability, at) in zip(jobs, pool.map(one_fold, jobs), strict=True):
                p[job[1], held] = probability
                chosen.append(at)
        losses = elementwise_cross_entropy(y, p)
        aucs = [roc_auc_score(y, row) for row in p]
        picks = f"  picks {np.bincount(chosen, minlength=len(CANDIDATES)).tolist()}" if args.nested else ""
        print(
            f"{architecture:13} CE {losses.mean():.3f} +- {half_width(losses):.3f}  AUC {np.mean(aucs):.3f} "
            f"(repeats {min(aucs):.3f}-{max(aucs):.3f})  Brier {((p - y) ** 2).mean():.3f}  "
            f"rival CE {RIVALS[architecture]:.3f}  {time.perf_counter() - start:.0f} s{picks}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

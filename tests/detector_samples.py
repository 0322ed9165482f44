"""Small labelled feature tables for the detector's tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from weightfeat.detector import Detector, Rows, Samples
from weightfeat.detector.learned import Learned
from weightfeat.metaparameters import Metaparameters, load

ROOT = Path(__file__).resolve().parents[1]
FAMILY = {"resnet18": "resnet", "resnet34": "resnet", "vgg16_bn": "vgg"}
RAW = ("f0", "f3")


@cache
def shipped() -> Metaparameters:
    return load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")


def quick(**values: object) -> Metaparameters:
    """The shipped metaparameters, made cheap."""
    base = shipped().replace(
        train_num_trees=25, train_ensemble_size=2, train_min_child_samples=3, train_feature_fraction=0.5,
        train_num_leaves=4, train_learning_rate=0.1, train_folds=3,
    )  # fmt: skip
    return base.replace(**values)


@dataclass(frozen=True, eq=False)
class Sample:
    X: pd.DataFrame
    y: np.ndarray
    architecture: list[str]
    family: list[str]

    @property
    def places(self) -> dict[str, list[str]]:
        return {"architecture": self.architecture, "family": self.family}

    @property
    def rows(self) -> Rows:
        return Rows.of(list(self.X.columns), self.X.to_numpy(), self.architecture, self.family)

    def samples(self, groups: list[str] | None = None) -> Samples:
        relative = tuple(name for name in RAW if name in self.X.columns)
        return Samples.of_table(self.rows, self.y, group=groups, relative_columns=relative)

    def take(self, at: np.ndarray) -> Sample:
        return Sample(
            self.X.iloc[at].reset_index(drop=True),
            self.y[at],
            [self.architecture[i] for i in at],
            [self.family[i] for i in at],
        )


def sample(
    rows: int = 72, columns: int = 8, signal: float = 2.0, seed: int = 0, missing: float = 0.05
) -> Sample:
    """f0 and f1 carry the label; every column has another centre and scale in each architecture."""
    rng = np.random.default_rng(seed)
    architecture = [list(FAMILY)[i % 3] for i in range(rows)]
    z = rng.normal(size=(rows, columns))
    y = (rng.permutation(rows) % 2).astype(np.int64)
    z[:, 0] += signal * y
    z[:, 1] -= signal / 2 * y
    at = {name: i for i, name in enumerate(FAMILY)}
    offset = 30 * np.random.default_rng(99).normal(size=(3, columns))
    scale = np.exp(np.random.default_rng(98).normal(size=(3, columns)))
    which = [at[a] for a in architecture]
    values = offset[which] + scale[which] * z
    values[rng.random(values.shape) < missing] = np.nan
    X = pd.DataFrame(values, columns=[f"f{i}" for i in range(columns)])
    return Sample(X, y, architecture, [FAMILY[a] for a in architecture])


def fit(data: Sample, threads: int = 1, groups: list[str] | None = None, **values: object) -> Detector:
    return Detector(quick(**values), threads=threads).fit(data.samples(groups))


def proba(detector: Detector, data: Sample) -> np.ndarray:
    return detector.predict_proba(data.samples())[:, 1]


def inference(detector: Detector) -> Learned:
    """What it learned, under its present values of inference."""
    return detector._inference()


def auc(y: np.ndarray, p: np.ndarray) -> float:
    pairs = p[y == 1][:, None] - p[y == 0][None, :]
    return float((pairs > 0).mean() + 0.5 * (pairs == 0).mean())


def cross_entropy(y: np.ndarray, p: np.ndarray) -> float:
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())

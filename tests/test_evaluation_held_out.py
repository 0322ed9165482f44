"""Left out as an architecture and as a family: each is judged as if the other had never been asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from weightfeat.evaluation.crossval import cross_validate
from weightfeat.evaluation.folds import leave_one_out_folds
from weightfeat.evaluation.held_out import hold_out, summarise

ARCHITECTURES = ("googlenet", "resnet18", "resnet34", "vgg11_bn")
FAMILIES = {"googlenet": "googlenet", "resnet18": "resnet", "resnet34": "resnet", "vgg11_bn": "vgg"}


class Sides:
    """p by the side of the two labels' middle; counts what it was asked to learn."""

    fits = 0

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        *,
        architecture: Sequence[str],
        family: Sequence[str],
        groups: Sequence[str] | None = None,
    ) -> Sides:
        type(self).fits += 1
        self.middle = X["a"][y == 0].mean() / 2 + X["a"][y == 1].mean() / 2
        return self

    def predict_proba(
        self, X: pd.DataFrame, *, architecture: Sequence[str], family: Sequence[str]
    ) -> np.ndarray:
        p = 1 / (1 + np.exp(self.middle - X["a"].to_numpy()))
        return np.column_stack([1 - p, p])


def test_both_kinds_are_what_each_is_alone_with_a_lone_architecture_fitted_once() -> None:
    rng = np.random.default_rng(3)
    y = np.arange(48) % 2
    X = pd.DataFrame({"a": rng.normal(size=48) + y}, index=[f"id-{i:08d}" for i in range(48)])
    architectures = [ARCHITECTURES[i // 2 % 4] for i in range(48)]
    families = [FAMILIES[name] for name in architectures]
    Sides.fits = 0
    both = hold_out(X, y, architectures, families, None, Sides, draws=50)
    assert Sides.fits == 5  # four architectures, and the one family of two
    for held, values in zip(both, (architectures, families), strict=True):
        folds = leave_one_out_folds(y, values)
        alone = cross_validate(X, y, architectures, families, None, Sides, folds)
        assert held == summarise(held.kind, alone, values, draws=50)


def test_a_kind_that_cannot_be_left_out_leaves_the_other() -> None:
    y = np.arange(16) % 2
    X = pd.DataFrame({"a": y + np.linspace(0, 1, 16)}, index=[f"id-{i:08d}" for i in range(16)])
    architectures = ["resnet18" if i < 8 else "resnet34" for i in range(16)]
    by_kind = {
        held.kind: held for held in hold_out(X, y, architectures, ["resnet"] * 16, None, Sides, draws=20)
    }
    assert [s.value for s in by_kind["architecture"].strata] == ["resnet18", "resnet34"]
    assert not by_kind["architecture"].refusal
    assert "only ['resnet'] occurs" in by_kind["family"].refusal
    assert not by_kind["family"].strata

"""Left out as an architecture and as a family: each is judged as if the other had never been asked for."""

from __future__ import annotations

import numpy as np

from weightfeat.detector import Rows, Samples
from weightfeat.evaluation.crossval import cross_validate
from weightfeat.evaluation.folds import leave_one_out_folds
from weightfeat.evaluation.held_out import leave_one_out, summarise

ARCHITECTURES = ("googlenet", "resnet18", "resnet34", "vgg11_bn")
FAMILIES = {"googlenet": "googlenet", "resnet18": "resnet", "resnet34": "resnet", "vgg11_bn": "vgg"}


class Sides:
    """p by the side of the two labels' middle; counts what it was asked to learn."""

    fits = 0

    def fit(self, samples: Samples) -> Sides:
        type(self).fits += 1
        a, y = samples.rows(()).values[:, 0], samples.y
        self.middle = a[y == 0].mean() / 2 + a[y == 1].mean() / 2
        return self

    def predict_proba(self, samples: Samples) -> np.ndarray:
        p = 1 / (1 + np.exp(self.middle - samples.rows(()).values[:, 0]))
        return np.column_stack([1 - p, p])


def samples_of(values: np.ndarray, y: np.ndarray, architectures: list[str], families: list[str]) -> Samples:
    return Samples.of_table(Rows.of(["a"], values[:, None], architectures, families), y)


def test_both_kinds_are_what_each_is_alone_with_a_lone_architecture_fitted_once() -> None:
    rng = np.random.default_rng(3)
    y = np.arange(48) % 2
    values = rng.normal(size=48) + y
    architectures = [ARCHITECTURES[i // 2 % 4] for i in range(48)]
    families = [FAMILIES[name] for name in architectures]
    samples = samples_of(values, y, architectures, families)
    Sides.fits = 0
    both = leave_one_out(samples, {"architecture": architectures, "family": families}, Sides)
    assert Sides.fits == 5  # four architectures, and the one family of two
    for held, levels in zip(both, (architectures, families), strict=True):
        alone = cross_validate(samples, Sides, leave_one_out_folds(samples, levels))
        assert held == summarise(held.kind, alone, levels)


def test_whatever_sorts_the_models_can_be_left_out() -> None:
    """A factor of how they were made, which is neither architecture nor family."""
    y = np.arange(16) % 2
    samples = samples_of(y + np.linspace(0, 1, 16), y, ["resnet18"] * 16, ["resnet"] * 16)
    source = ["signs" if i % 4 < 2 else "faces" for i in range(16)]
    (held,) = leave_one_out(samples, {"data source": source}, Sides)
    assert held.kind == "data source"
    assert [(s.value, s.models) for s in held.strata] == [("faces", 8), ("signs", 8)]


def test_a_kind_that_cannot_be_left_out_leaves_the_other() -> None:
    y = np.arange(16) % 2
    architectures = ["resnet18" if i < 8 else "resnet34" for i in range(16)]
    samples = samples_of(y + np.linspace(0, 1, 16), y, architectures, ["resnet"] * 16)
    levels = {"architecture": samples.architecture, "family": samples.family}
    by_kind = {held.kind: held for held in leave_one_out(samples, levels, Sides)}
    assert [s.value for s in by_kind["architecture"].strata] == ["resnet18", "resnet34"]
    assert not by_kind["architecture"].refusal
    assert "only ['resnet'] occurs" in by_kind["family"].refusal
    assert not by_kind["family"].strata

"""The scales that class rows are measured with: an architecture's, not one network's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from weightfeat.classmodel.rows import ClassRows
from weightfeat.classmodel.scales import Scales, fit_scales
from weightfeat.features.summaries import centred, robust_scale

COLUMNS = 3


def _network(architecture: str, size: float, classes: int = 9, seed: int = 0) -> ClassRows:
    rng = np.random.default_rng(seed)
    values = centred(size * rng.normal(size=(classes, COLUMNS)))
    pairs = size * rng.normal(size=(classes, classes, 2))
    return ClassRows(architecture, True, values, pairs, robust_scale(values), np.full(2, size))


def _population(architecture: str, size: float, count: int = 40) -> list[ClassRows]:
    return [_network(architecture, size, seed=seed) for seed in range(count)]


def test_each_architecture_has_a_scale_of_its_own() -> None:
    """The same network at ten times the size looks the same among networks ten times as large."""
    scales = fit_scales([*_population("small", 1.0), *_population("large", 10.0)])
    small, large = (scales.standard(_network(a, s, seed=99)) for a, s in (("small", 1.0), ("large", 10.0)))
    for one, other in zip(small, large, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    assert 0.6 < small[0].std() < 1.8


def test_a_scale_is_known_better_than_one_network_tells() -> None:
    """What nine classes say of their own spread hardly counts among forty networks."""
    scales = fit_scales(_population("a", 1.0))
    networks = [_network("a", 1.0, seed=seed) for seed in range(60, 90)]
    ones = [replace(rows, classes=np.ones((1, COLUMNS))) for rows in networks]
    together = [scales.standard(rows)[0][0] for rows in ones]
    alone = [1 / rows.class_scale for rows in networks]
    assert np.std(together, axis=0).max() < 0.1 * np.std(alone, axis=0).min()


@pytest.mark.parametrize("architecture", ["never seen", "unknown"])
def test_without_its_architecture_a_network_is_measured_by_itself(architecture: str) -> None:
    scales = fit_scales([*_population("a", 1.0), *_population("unknown", 50.0)])
    rows = _network(architecture, 7.0, seed=5)
    np.testing.assert_allclose(scales.standard(rows)[0], rows.classes / rows.class_scale, rtol=1e-9)


def test_a_column_that_is_alike_in_every_class_says_nothing_and_spoils_nothing() -> None:
    flat = [_network("a", 1.0, seed=seed) for seed in range(4)]
    for rows in flat[:2]:
        rows.classes[:, 0], rows.class_scale[0] = 0.0, 0.0
    scales = fit_scales(flat)
    assert not scales.standard(flat[0])[0][:, 0].any()
    expected = np.exp(np.mean(np.log([flat[i].class_scale[0] for i in (2, 3, 3)])))
    np.testing.assert_allclose(scales.standard(flat[3])[0][:, 0], flat[3].classes[:, 0] / expected, rtol=1e-9)


def test_a_column_that_no_training_network_of_the_architecture_had_says_nothing() -> None:
    known = _population("a", 1.0, 3)
    for rows in known:
        rows.classes[:, 1], rows.class_scale[1] = 0.0, 0.0
    scales = fit_scales([*known, *_population("b", 1.0, 3)])
    newcomer = _network("a", 1.0, seed=8)
    assert not scales.standard(newcomer)[0][:, 1].any()
    assert scales.standard(newcomer)[0][:, 0].any()
    assert scales.standard(replace(newcomer, architecture="b"))[0][:, 1].any()


def test_values_are_bounded_and_nothing_can_be_learned_from_no_architecture() -> None:
    rows = _network("a", 1.0)
    rows.classes[0, 0] = 1e9
    scales = fit_scales([_network("unknown", 1.0)])
    assert scales.architectures == ()
    assert np.abs(scales.standard(rows)[0]).max() == 12
    assert isinstance(scales, Scales)

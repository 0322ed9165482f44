"""Products with K that never make it are what the whole of it gives."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from weightfeat.digest import composition
from weightfeat.digest.composition import Part, compose, effective_rank, part
from weightfeat.digest.linalg import gram
from weightfeat.digest.place import HOST, Place, choose_place
from weightfeat.digest.tensors import at_place
from weightfeat.network.types import Layer, Norm

CLASSES, UNFED = 4, 5
SHAPES = {"wide": (20, 3, 3, 3), "square": (24, 24), "tall": (600, 7), "tall convolution": (40, 2, 3, 3)}


@pytest.fixture(params=["cpu", "torch"])
def place(request: pytest.FixtureRequest) -> Place:
    return choose_place(request.param)


def _layer(name: str, scale: float, with_norm: bool) -> Layer:
    generator = np.random.default_rng(sum(map(ord, name)))
    out = SHAPES[name][0]
    ones = np.ones(out, np.float32)
    gamma = generator.standard_normal(out).astype(np.float32)
    norm = Norm("norm", gamma, 0 * ones, 0 * ones, 4 * ones, None, 0.0) if with_norm else None
    weight = (scale * generator.standard_normal(SHAPES[name])).astype(np.float32)
    return Layer(name, "conv" if weight.ndim == 4 else "linear", "body", weight, None, 1, 0.5, norm)


def _whole(layers: list[Layer]) -> NDArray[np.float64]:
    """K itself, of all layers and the inputs that nothing feeds."""
    width = sum(len(layer.weight) for layer in layers) + UNFED
    k = np.eye(width)
    start = 0
    for layer in layers:
        rows = layer.weight.reshape(len(layer.weight), -1).astype(np.float64)
        norm = layer.norm_after
        factor = 1.0 if norm is None or norm.factor is None else norm.factor[:, None]
        k[start : start + len(rows), start : start + len(rows)] = (rows * factor) @ (rows * factor).T
        start += len(rows)
    return k


def _parts(layers: list[Layer], place: Place, shared: bool) -> list[Part]:
    starts = np.cumsum([0, *(len(layer.weight) for layer in layers)])
    found = []
    for layer, start in zip(layers, starts, strict=False):
        tensors = at_place(layer, place)
        plain = gram(tensors.matrix) if shared else None
        found.append(part(slice(int(start), int(start) + len(layer.weight)), tensors, plain))
    assert all(each is not None for each in found)
    return [each for each in found if each is not None]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("with_norm", [True, False])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_products_are_those_with_the_whole(
    place: Place, scale: float, with_norm: bool, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composition, "_PANEL", 128)
    layers = [_layer(name, scale, with_norm) for name in SHAPES]
    k = _whole(layers)
    h = np.random.default_rng(1).standard_normal((CLASSES, len(k)))
    h[:, -UNFED:] *= scale
    parts = _parts(layers, place, shared)
    exact = h @ k @ h.T
    largest = np.abs(exact).max()
    np.testing.assert_allclose(compose(h, parts, place), exact, rtol=1e-9, atol=1e-9 * largest)
    evidence = np.maximum(h, 0)
    eigenvalues = [np.linalg.eigvalsh(e[:, None] * k * e) for e in evidence]
    ranks = [values.sum() ** 2 / (values**2).sum() for values in eigenvalues]
    np.testing.assert_allclose(effective_rank(evidence, parts, place), ranks, rtol=1e-6)


def test_a_rank_knows_no_unit_of_the_evidence() -> None:
    layers = [_layer(name, 1.0, True) for name in SHAPES]
    parts, width = _parts(layers, HOST, False), sum(len(layer.weight) for layer in layers) + UNFED
    evidence = np.abs(np.random.default_rng(2).standard_normal((CLASSES, width)))
    units = np.array([[1e-15], [1.0], [1e15], [1e30]])
    np.testing.assert_allclose(
        effective_rank(evidence * units, parts, HOST), effective_rank(evidence, parts, HOST), rtol=1e-6
    )


def test_no_evidence_has_no_rank() -> None:
    parts = _parts([_layer("tall", 1.0, False)], HOST, False)
    assert np.array_equal(effective_rank(np.zeros((2, 600)), parts, HOST), np.zeros(2))


def test_a_layer_of_another_width_tells_nothing() -> None:
    assert part(slice(0, 7), at_place(_layer("tall", 1.0, False), HOST), None) is None

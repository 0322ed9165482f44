"""Features: one list of names, the same meaning at every size, and a planted class stands out."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from networks import network_of, plain_cnn, randomise_norms
from weightfeat import digest, features
from weightfeat.execution.vision import build_network
from weightfeat.features.classes import COLUMNS, centred_cosines, class_table
from weightfeat.features.places import within
from weightfeat.features.registry import feature_block
from weightfeat.features.summaries import BINS, expected_largest, outlier, pooled, robust_z, standardised

KEY = "b" * 64


def _digest(module: torch.nn.Module) -> digest.Digest:
    return digest.compute(network_of(module), key=KEY)


@pytest.fixture(scope="module")
def zoo_rows() -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    names = ("squeezenet1_1", "shufflenet_v2_x1_0", "densenet121", "mobilenet_v2", "googlenet")
    return {name: features.row(_digest(randomise_norms(build_network(name, 8)))) for name in names}


@pytest.mark.e2e
def test_every_architecture_has_the_same_names(zoo_rows: dict[str, dict[str, float]]) -> None:
    for row in zoo_rows.values():
        assert tuple(row) == features.names()
        assert not any(np.isinf(value) for value in row.values())


@pytest.mark.e2e
def test_little_is_undefined_in_stock_architectures(zoo_rows: dict[str, dict[str, float]]) -> None:
    for name, row in zoo_rows.items():
        undefined = [key for key, value in row.items() if np.isnan(value)]
        without_norms = re.compile("gamma|beta|open|moments|training_length")
        unexplained = [
            k
            for k in undefined
            if not without_norms.search(k) and not k.startswith(("alignment", "channels.channels"))
        ]
        assert len(unexplained) < 12, (name, unexplained)


def test_blocks_partition_the_names() -> None:
    by_block = [features.names([block]) for block in features.BLOCKS]
    assert [name for names in by_block for name in names] == list(features.names())
    assert len(set(features.names())) == len(features.names())
    assert set(features.relative_names()) < set(features.names())
    assert features.names(reversed(features.BLOCKS)) == features.names()


@pytest.mark.parametrize("block", features.BLOCKS)
def test_a_block_reads_what_it_says_of_a_digest(block: str) -> None:
    network = network_of(plain_cnn())
    part = digest.compute(network, key=KEY, blocks=features.reads([block]))
    whole = digest.compute(network, key=KEY)
    assert features.reads([block]) < digest.VERSIONS.keys()
    np.testing.assert_array_equal(
        list(features.row(part, [block]).values()), list(features.row(whole, [block]).values())
    )


def test_unknown_block_is_named() -> None:
    with pytest.raises(ValueError, match="unknown feature block 'nosuch'"):
        features.names(["nosuch"])
    with pytest.raises(ValueError, match="registered twice"):
        feature_block("head", ["a"], relative=True, reads=())(lambda _: [0.0])


def test_table_keeps_order_and_columns() -> None:
    digests = [_digest(plain_cnn(seed=seed)) for seed in range(3)]
    table = features.table(digests, ["head", "latents"])
    assert list(table.columns) == list(features.names(["head", "latents"]))
    for position, one in enumerate(digests):
        assert np.array_equal(
            table.iloc[position].to_numpy(),
            list(features.row(one, ["head", "latents"]).values()),
            equal_nan=True,
        )


def test_scaling_all_weights_of_a_normed_layer_leaves_spectral_features() -> None:
    module = plain_cnn()
    before = features.row(_digest(module), ["spectrum", "distribution"])
    with torch.no_grad():
        for layer in (module.conv0, module.conv1, module.conv2):
            layer.weight.mul_(3.7)
    after = features.row(_digest(module), ["spectrum", "distribution"])
    assert after == pytest.approx(before, rel=1e-4, abs=1e-4, nan_ok=True)


def test_a_planted_target_class_stands_out() -> None:
    """Evidence for one class through all channels: what all-to-one relabelling leaves in the head."""
    clean = plain_cnn(classes=10, seed=3)
    row = features.row(_digest(clean))
    with torch.no_grad():
        clean.fc.weight[4] += 0.15
        clean.fc.bias[4] += 0.2
    planted = _digest(clean)
    changed = features.row(planted)
    for name in ("fusion.largest", "fusion.gap", "latents.half_normal.largest", "head.mean.dixon"):
        assert changed[name] > row[name] + 0.2, name
    table = class_table(planted)
    assert table[:, COLUMNS.index("share.half_normal")].argmax() == 4


def test_a_planted_pair_stands_out() -> None:
    """A source's row mixed into the target's: what relabelling some of one class leaves."""
    module = plain_cnn(classes=10, seed=5)
    before = features.row(_digest(module), ["relabelling"])
    with torch.no_grad():
        module.fc.weight[2] = 0.5 * module.fc.weight[2] + 0.9 * module.fc.weight[7]
    after = features.row(_digest(module), ["relabelling"])
    assert after["relabelling.cosine.gap"] > before["relabelling.cosine.gap"] + 0.1
    assert after["relabelling.cosine.largest"] > 0.7


def test_summaries_by_hand() -> None:
    assert outlier(np.array([1.0, 5.0, 2.0, 0.0]))[0] == pytest.approx((5 - 2) / 5)
    assert np.isnan(outlier(np.array([1.0, 2.0]))).all()
    assert outlier(np.ones(6))[0] == 0.0
    values = pooled(np.array([1.0, 2.0, np.nan, 4.0]), np.array([0.0, 0.1, 0.3, 1.0]))
    assert values[:1] == [1.5]
    assert np.isnan(values[1])
    assert values[len(BINS) - 1 :] == [4.0, 4.0, 1.0]
    draws = np.random.default_rng(0).standard_normal((20000, 9)).max(axis=1)
    assert expected_largest(9) == pytest.approx(draws.mean(), abs=0.02)
    for score in (robust_z, within):
        assert np.array_equal(score(np.full((5, 2), 3.0)), np.zeros((5, 2)))


def test_robust_scores_by_hand() -> None:
    values = np.array([[0.0], [1.0], [2.0], [3.0], [104.0]])  # median 2, of the distances from it 1
    away, spread = values - 2.0, values.std()
    np.testing.assert_allclose(robust_z(values), np.clip(away / (1.4826 + 0.1 * spread), -12, 12))
    np.testing.assert_allclose(within(values), away / (1.4826 + 0.25 * spread))
    assert np.isnan(standardised(np.array([1.0, np.nan, 2.0]))).all()


def test_centred_cosines_match_rows() -> None:
    rows = np.random.default_rng(1).standard_normal((6, 40)) + 2.0
    centred = rows - rows.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    expected = unit @ unit.T
    ours = centred_cosines(rows @ rows.T)
    off = ~np.eye(6, dtype=bool)
    assert np.allclose(ours[off], expected[off])
    assert np.isnan(np.diag(ours)).all()

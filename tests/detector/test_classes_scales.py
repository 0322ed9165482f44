"""The scales that class rows are measured with: learned over all networks, an architecture's own foremost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from class_samples import noise_pairs, samples_of
from detector_samples import quick
from weightfeat.detector import Target
from weightfeat.detector.classes import storage
from weightfeat.detector.classes.models import fit_class_models
from weightfeat.detector.classes.rows import CLASS_COLUMNS, ClassRows
from weightfeat.detector.classes.scales import Scales, fit_scales, measured
from weightfeat.features.summaries import centred, robust_scale

COLUMNS = len(CLASS_COLUMNS)
CLASSES = 90.0
USUAL = 1e9  # classes: a network's own variances do not count
SIZES = {"a": 0.5, "b": 1.0, "c": 2.0, "d": 6.0, "e": 15.0}


def _network(architecture: str, size: float, classes: int = 9, seed: int = 0) -> ClassRows:
    rng = np.random.default_rng(seed)
    values = centred(size * rng.normal(size=(classes, COLUMNS)))
    return ClassRows(
        architecture,
        "f",
        True,
        values,
        robust_scale(values),
        noise_pairs(rng, classes, size),
        np.zeros((classes, 4)),
    )


def standard(scales: Scales, rows: ClassRows) -> tuple[np.ndarray, np.ndarray]:
    """Classes and pairs of a network in units of the scales."""
    class_scale, pair_scale = scales.of(rows)
    return measured(rows.classes, class_scale), measured(rows.learned_pairs, pair_scale)


def _population(architecture: str, size: float, count: int = 40, first: int = 0) -> list[ClassRows]:
    return [_network(architecture, size, seed=seed) for seed in range(first, first + count)]


def _populations() -> list[ClassRows]:
    """Five architectures that are loud and quiet in all of their statistics alike."""
    return [
        rows
        for at, (name, size) in enumerate(SIZES.items())
        for rows in _population(name, size, first=100 * at)
    ]


def _found(scales: Scales, networks: Sequence[ClassRows]) -> np.ndarray:
    """Logarithms of the scales that classes are measured with, (networks, columns)."""
    ones = [replace(rows, classes=np.full((1, COLUMNS), 1e-3)) for rows in networks]
    return np.array([-np.log(measured(rows.classes, scales.of(rows)[0])[0] / 1e-3) for rows in ones])


def test_each_architecture_has_a_scale_of_its_own() -> None:
    """The same network at thirty times the size looks the same among networks thirty times as large."""
    scales = fit_scales(_populations(), CLASSES)
    small, large = (standard(scales, _network(a, SIZES[a], seed=999)) for a in ("a", "e"))
    for one, other in zip(small, large, strict=True):
        assert np.median(np.abs(one - other)) < 0.2 * np.median(np.abs(one))
    assert 0.6 < small[0].std() < 1.8


def test_a_scale_is_known_better_than_one_network_tells() -> None:
    """What nine classes say of their own spread hardly counts among forty networks."""
    networks = _population("b", SIZES["b"], 30, first=1000)
    together = _found(fit_scales(_populations(), CLASSES), networks)
    alone = np.log([rows.class_scale for rows in networks])
    assert np.std(together, axis=0).max() < 0.1 * np.std(alone, axis=0).min()


@pytest.mark.parametrize("architecture", ["never seen", "unknown"])
@pytest.mark.parametrize("size", [0.7, 9.0])
def test_of_a_new_architecture_the_whole_is_believed_and_a_single_statistic_is_not(
    architecture: str, size: float
) -> None:
    """How loud it is in everything is its own to say; where one statistic strays from that, it is noise."""
    networks = _population(architecture, size, 30, first=2000)
    alone = np.log([rows.class_scale for rows in networks])
    found = _found(fit_scales(_populations(), CLASSES), networks)
    assert np.abs(found.mean(axis=1) - alone.mean(axis=1)).max() < 0.1
    assert found.std(axis=1).mean() < 0.75 * alone.std(axis=1).mean()


def test_one_of_the_kind_is_drawn_to_the_others_and_one_unlike_all_of_them_is_not() -> None:
    """Where all others are loud or quiet as a whole, one that is loud here and quiet there is thought noisy, unless
    that is beyond all measure."""
    scales = fit_scales(_populations(), CLASSES)
    odd = np.resize([1.0, -1.0], COLUMNS)

    def part_kept(loudness: float) -> float:
        """What part of its oddness is in the scales it is measured with."""
        factor = np.exp(loudness * odd)
        newcomers = [
            replace(rows, classes=rows.classes * factor, class_scale=rows.class_scale * factor)
            for rows in _population("never seen", 1.0, 30, first=3000)
        ]
        return float((_found(scales, newcomers) @ odd).mean() / (loudness * COLUMNS))

    assert part_kept(0.1) < 0.15
    assert part_kept(1.5) > 0.3


def test_the_less_is_known_of_its_architecture_the_more_a_networks_own_deviation_counts() -> None:
    scales = fit_scales(_populations(), CLASSES)
    rows = _population("b", SIZES["b"], 30, first=4000)

    def own(name: str) -> np.ndarray:
        """Deviations of measured classes: one where a network is measured by its own."""
        named = [replace(each, architecture=name) for each in rows]
        return np.array([standard(scales, each)[0].std(axis=0, ddof=1) for each in named])

    assert np.abs(np.log(own("never seen"))).mean() < 0.8 * np.abs(np.log(own("b"))).mean()


@pytest.mark.parametrize("architectures", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 3])
def test_of_few_architectures_scales_can_be_learned_kept_and_read_again(
    architectures: int, count: int
) -> None:
    names = list(SIZES)[:architectures]
    rows = [r for at, a in enumerate(names) for r in _population(a, SIZES[a], count, first=10 * at)]
    rows += _population("a", SIZES["a"], 1, first=90)
    labels = np.arange(len(rows)) % 2
    targets = [Target(0) if label else None for label in labels]
    models = fit_class_models(samples_of(rows, labels, targets), quick())
    assert models is not None
    again = storage.from_parts(storage.to_document(models), storage.to_tables(models), models.scales.classes)
    for newcomer in (_network("a", 1.0, seed=99), _network("never seen", 1.0, seed=99)):
        assert again.evidence(newcomer) == models.evidence(newcomer)
        assert np.isfinite(again.evidence(newcomer).odds)


def test_without_a_batch_norm_a_network_is_measured_by_its_own_scales() -> None:
    scales = fit_scales(_populations(), CLASSES)
    rows = replace(_network("e", 7.0, seed=5), normed=False)
    np.testing.assert_allclose(standard(scales, rows)[0], rows.classes / rows.class_scale, rtol=1e-9)


def test_with_one_a_network_is_measured_between_its_architectures_scale_and_its_own_deviation() -> None:
    """The more the usual scale counts, the nearer to it; where it counts for nothing, values are standard scores."""
    rows = _network("b", 4.0, seed=5)
    own, *between, usual = (
        np.abs(standard(fit_scales(_populations(), classes), rows)[0]) for classes in (1e-9, 9.0, 90.0, USUAL)
    )
    np.testing.assert_allclose(own, np.abs(rows.classes / rows.classes.std(axis=0, ddof=1)), rtol=1e-6)
    for nearer, farther in zip((own, *between), (*between, usual), strict=True):
        assert nearer.sum() < farther.sum()


def test_networks_of_no_known_architecture_are_no_population() -> None:
    known = _populations()
    rows = _network("unknown", 1.0, seed=7)
    one, other = (
        standard(fit_scales(n, CLASSES), rows)[0] for n in (known, [*known, *_population("unknown", 50.0)])
    )
    np.testing.assert_array_equal(one, other)


def test_without_any_architecture_a_network_is_measured_by_itself() -> None:
    scales = fit_scales(_population("unknown", 50.0, 3), USUAL)
    assert scales.architectures == ()
    rows = _network("a", 7.0, seed=5)
    np.testing.assert_allclose(standard(scales, rows)[0], rows.classes / rows.class_scale, rtol=1e-6)


def test_a_column_that_is_alike_in_every_class_says_nothing_and_spoils_nothing() -> None:
    networks = _populations()
    for rows in networks[:2]:
        rows.classes[:, 0], rows.class_scale[0] = 0.0, 0.0
    scales = fit_scales(networks, CLASSES)
    assert not standard(scales, networks[0])[0][:, 0].any()
    usual = np.log([rows.class_scale[0] for rows in networks[2:40]]).mean()
    assert abs(_found(scales, networks[2:3])[0, 0] - usual) < 0.1


def test_a_column_that_no_training_network_of_the_architecture_had_says_nothing() -> None:
    known = _population("a", 1.0, 3)
    for rows in known:
        rows.classes[:, 1], rows.class_scale[1] = 0.0, 0.0
    scales = fit_scales([*known, *_population("b", 1.0, 3)], CLASSES)
    newcomer = _network("a", 1.0, seed=8)
    assert not standard(scales, newcomer)[0][:, 1].any()
    assert standard(scales, newcomer)[0][:, 0].any()
    assert standard(scales, replace(newcomer, architecture="b"))[0][:, 1].any()


def test_values_are_bounded() -> None:
    rows = _network("a", 1.0)
    rows.classes[0, 0] = 1e9
    assert np.abs(standard(fit_scales(_populations(), USUAL), rows)[0]).max() == 12

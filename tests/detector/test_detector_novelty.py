"""Distance to the training population: small for its like, large for strangers, the pull rising in between."""

from __future__ import annotations

import numpy as np

from weightfeat.detector.novelty import fit_population, with_reference


def population(rows: int = 120, columns: int = 30, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(rows, 3)) @ np.random.default_rng(7).normal(size=(3, columns))
    return shared + 0.5 * rng.normal(size=(rows, columns))


def fitted():
    train, held = population(seed=0), population(seed=1)
    bare = fit_population(train)
    return with_reference(bare, bare.distance(held))


def test_rows_of_the_same_law_are_not_novel() -> None:
    fit = fitted()
    weight = fit.weight(fit.distance(population(400, seed=2)))
    assert (weight == 0).mean() > 0.85
    assert weight.mean() < 0.1


def test_strangers_are_novel() -> None:
    fit = fitted()
    for far in (population(20, seed=3) + 8, np.random.default_rng(0).normal(0, 3, (20, 30))):
        assert (fit.weight(fit.distance(far)) > 0.9).all()
    assert fit.quantile(fit.distance(population(20, seed=3) + 8)).min() == 1.0


def test_a_broken_correlation_counts_though_every_column_looks_usual() -> None:
    fit, rows = fitted(), population(300, seed=4)
    rng = np.random.default_rng(0)
    shuffled = np.column_stack([rng.permutation(column) for column in rows.T])
    assert np.median(fit.distance(shuffled)) > 1.5 * np.median(fit.distance(rows))


def test_weight_rises_with_distance_from_0_to_1() -> None:
    weight = fitted().weight(np.linspace(0, 50, 500))
    assert (weight[0], weight[-1]) == (0, 1)
    assert (np.diff(weight) >= 0).all()


def test_missing_values_few_rows_and_constant_columns() -> None:
    z = population(12, 40)
    z[:, :3], z[0, 5:9] = 0.0, np.nan
    fit = fit_population(z)
    assert np.isfinite(fit.distance(z)).all()
    assert np.isfinite(fit.weight(fit.distance(z))).all()
    assert (fit.distance(np.full((1, 40), 10.0)) > fit.distance(z).max()).all()
    alone = fit_population(z[:1])
    assert np.isfinite(alone.weight(alone.distance(z))).all()


def test_one_wild_column_cannot_outweigh_the_rest() -> None:
    fit = fitted()
    row = population(1, seed=5)
    wild, wilder = row.copy(), row.copy()
    wild[0, 0], wilder[0, 0] = 6.0, 1e9
    assert fit.distance(wild) == fit.distance(wilder)

"""How far a row lies from the training population, and how much less its score should be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weightfeat.features.summaries import Array

__all__ = ["FOREIGN_WEIGHT", "UNSEEN_WEIGHT", "Novelty", "Population", "fit_population", "with_reference"]

SQUASH = 5.0  # beyond this many robust deviations a single column says no more
COMPONENTS = 10
ROWS_PER_COMPONENT = 10
GRID = np.linspace(0, 1, 101)
RAMP = (0.5, 0.95, 2.0)  # weight 0 up to the second quantile, 1 at two (second - first) beyond it
UNSEEN_WEIGHT = (0.0, 0.25, 0.5)  # least weight by the level compared with: own architecture, family, pool
FOREIGN_WEIGHT = (0.0, 1.0, 1.0)  # the same where a model of all recipes stands in for the prior


@dataclass(frozen=True, eq=False)
class Novelty:
    """Per row: distance, weight in [0, 1] of the pull to the prior, and the population compared with.

    `quantile` is the share of held-out training rows that lie nearer.
    """

    distance: Array
    quantile: Array
    weight: Array
    level: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Population:
    """A Gaussian of low-rank covariance over squashed robust z: W W' + s^2 I (Tipping & Bishop 1999).

    `components` is (r, columns), `variances` (r,), `reference` the held-out distances' quantiles on a grid of 101.
    """

    mean: Array
    components: Array
    variances: Array
    residual: float
    reference: Array

    def distance(self, z: Array) -> Array:
        """Root of the Mahalanobis distance's square divided by the number of columns, (rows,); about 1 in training."""
        centred = _squashed(z) - self.mean
        scores = np.einsum("ij,kj->ik", centred, self.components)
        rest = np.maximum((centred**2).sum(axis=1) - (scores**2).sum(axis=1), 0.0)
        square = (scores**2 / self.variances).sum(axis=1) + rest / self.residual
        distance: Array = np.sqrt(square / max(z.shape[1], 1))
        return distance

    def weight(self, distance: Array) -> Array:
        """0 for rows like the training ones, rising linearly to 1 for rows unlike any."""
        middle, start = np.interp(RAMP[:2], GRID, self.reference)
        width = max(RAMP[2] * (start - middle), 0.05 * middle, 1e-9)
        weight: Array = np.clip((distance - start) / width, 0.0, 1.0)
        return weight

    def quantile(self, distance: Array) -> Array:
        """Share of the held-out training rows nearer than each distance."""
        return np.searchsorted(self.reference, distance, side="left").clip(0, 100) / 100


def fit_population(z: Array) -> Population:
    """Fit on training rows of robust z, (rows, columns); the reference is then their own distances."""
    squashed = _squashed(z)
    mean = squashed.mean(axis=0)
    _, singular, axes = np.linalg.svd(squashed - mean, full_matrices=False)
    variances = singular**2 / max(len(z), 1)
    rank = min(COMPONENTS, len(z) // ROWS_PER_COMPONENT, int((variances > 1e-9).sum()))
    spare = max(z.shape[1] - rank, 1)
    residual = max(float(variances[rank:].sum()) / spare, 1e-6)
    kept = np.maximum(variances[:rank], residual)
    population = Population(mean, axes[:rank], kept, residual, np.zeros(len(GRID)))
    return with_reference(population, population.distance(z))


def with_reference(population: Population, distances: Array) -> Population:
    """The same population with its distances scaled by those of rows it was not fitted on."""
    reference = np.quantile(distances, GRID)
    return Population(
        population.mean, population.components, population.variances, population.residual, reference
    )


def _squashed(z: Array) -> Array:
    return np.clip(np.nan_to_num(z, nan=0.0), -SQUASH, SQUASH)

"""How large a difference between classes is: learned over all networks, an architecture's own foremost.

Of nine classes a median absolute deviation is known to about a third of itself, and the target is one of the nine. But
networks of one architecture differ little in what is usual, and what is usual in one architecture is near to what is
usual in others. With x the logarithms of a network's robust scales, one entry a statistic,

    x = theta + e,  theta ~ Normal(centre, f between) of an architecture,  e ~ Normal(0, within) of a network,

and a statistic's usual scale is exp of the posterior mean of theta, given the n networks at hand: the architecture's
training networks and the network itself, which alone speaks where nothing was learned of its architecture. With m their
mean and f known it is centre + f between (f between + within / n)^-1 (m - centre) (Searle, Casella and McCulloch 1992,
Variance components, chapter 7). Covariances matter: that a network is loud as a whole, all of its statistics tell
together; that one statistic is loud in it, hardly more than that one. The factor f is an architecture's own: most
differ from each other by far less than the few that are unlike all others (experiment 56). All statistics together
tell it well, so posteriors are averaged over some values of f as m makes them likely.

What a network differs by from its architecture is part noise, part its own. So the variance of its C classes counts
too, the usual scale's square counting as d of them: it is measured with the root of

    (C variance + d scale^2) / (C - 1 + d)

(the posterior mean of a variance under a scaled inverse chi-square prior; Gelman et al. 2013, chapter 2). d is
`classes`, and where nothing was learned of the architecture 1 / d = 1 / classes + 2 (posterior variance of theta): with
d degrees of freedom the logarithm of a root has a variance of about 1 / 2d. Where no batch norm feeds the head, no law
of the training data gives an architecture's networks a common measure: there a network's own robust scales are taken
as they are (experiment 55).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weightfeat.detector.classes.rows import ClassRows, full_pair_scale
from weightfeat.detector.normaliser import UNKNOWN
from weightfeat.features.summaries import Z_CLIP, Array

_TINY = 1e-12
LARGEST_LOG = 100.0
_LEAST = 0.05
"""Least variance of a column between architectures, in its variances within: of few architectures it may seem none."""
_LEAST_VARIANCE = 1e-6
FACTORS = 2.0 ** np.arange(-4, 5)
"""What `between` is multiplied by: each as likely as another before a network of the architecture is seen."""
_FOREIGN = 0.5
"""How far `within` is drawn to its diagonal for an architecture that nothing was learned of: how its statistics err
together was learned from others."""
_LEAST_DRAWN = 0.01
"""Least part by which a covariance is drawn to its diagonal: two architectures alone show no reason to, and leave it
without an inverse."""


@dataclass(frozen=True, eq=False)
class Scales:
    """What is known of the logarithms of scales, the columns of classes before those of pairs.

    Attributes
    ----------
    total, known : (architectures, columns); sums over an architecture's training networks, and in how many each
        was known.
    centre, between, within : (columns,), (columns, columns) twice; the module's words say of what.
    classes : how many classes an exactly known usual scale counts as beside a network's own.
    """

    architectures: tuple[str, ...]
    total: Array
    known: Array
    centre: Array
    between: Array
    within: Array
    classes: float

    def of(self, rows: ClassRows) -> tuple[Array, Array]:
        """One scale a column for one network: (class columns,) and (pair columns,)."""
        class_scale, own = self._known_and_usual(rows)
        return class_scale, full_pair_scale(own, class_scale)

    def _known_and_usual(self, rows: ClassRows) -> tuple[Array, Array]:
        """Of the columns of classes, and of those columns of pairs that are not a class's."""
        width = rows.classes.shape[1]
        total, known = _logarithms(rows)
        if not rows.normed:
            own = np.where(known > 0, np.exp(total), np.inf)
            return own[:width], own[width:]
        if rows.architecture in self.architectures:
            at = self.architectures.index(rows.architecture)
            # What no training network of this architecture had, no model has learned to read in it.
            known = np.where(self.known[at] > 0, known + self.known[at], 0.0)
            usual, _ = self._usual(total + self.total[at], known, self.within)
            worth = np.full(width, self.classes)
        else:
            within = (1 - _FOREIGN) * self.within + _FOREIGN * np.diag(np.diag(self.within))
            usual, doubt = self._usual(total, known, within)
            worth = 1 / (1 / self.classes + 2 * doubt[:width])
        return _with_own(usual[:width], worth, rows), usual[width:]

    def _usual(self, total: Array, known: Array, within: Array) -> tuple[Array, Array]:
        """Exp of the posterior mean of theta, infinite where a column is not known, and theta's posterior variance."""
        at = known > 0
        root = np.sqrt(known[at])
        noise = within[np.ix_(at, at)] / np.outer(root, root)
        away = total[at] / known[at] - self.centre[at]
        mean, variance = _averaged(away, self.between[np.ix_(at, at)], noise)
        usual, doubt = np.full(len(total), np.inf), np.zeros(len(total))
        usual[at] = np.exp(np.clip(self.centre[at] + mean, -LARGEST_LOG, LARGEST_LOG))
        doubt[at] = variance
        return usual, doubt


def fit_scales(networks: Sequence[ClassRows], classes: float) -> Scales:
    """Learn from training networks, without labels. Networks of no known architecture are no population."""
    named = [rows for rows in networks if rows.architecture != UNKNOWN]
    names = sorted({rows.architecture for rows in named})
    width = sum(len(scale) for scale in (networks[0].class_scale, networks[0].pairs.scale))
    logs, known = np.array([_logarithms(rows) for rows in named]).reshape(-1, 2, width).transpose(1, 0, 2)
    # (architectures, networks)
    member = np.array(names)[:, None] == np.array([rows.architecture for rows in named])
    totals, counts = member @ logs, member @ known
    present = (counts > 0).astype(np.float64)
    means = totals / np.maximum(counts, 1)
    centre = means.sum(axis=0) / np.maximum(present.sum(axis=0), 1)

    residuals = (logs - member.T @ means) * known
    together = present.T @ present
    within = residuals.T @ residuals / np.maximum(known.T @ known - together, 1)
    away = (means - centre) * present
    # An architecture's mean is uncertain by itself, and so much of what they differ is no difference.
    part = present / np.sqrt(np.maximum(counts, 1))
    between = away.T @ away / np.maximum(together - 1, 1)
    between -= within * (part.T @ part) / np.maximum(together, 1)
    least = np.maximum(_LEAST * np.diag(within), _LEAST_VARIANCE)
    between, within = _shrunk(between, away, least), _shrunk(within, residuals, 0.0)
    return Scales(tuple(names), totals, counts, centre, between, within, classes)


def _with_own(usual: Array, worth: Array, rows: ClassRows) -> Array:
    """Usual scales of classes' columns, counting as `worth` classes each, the network's own variances beside them."""
    squares = rows.count * rows.classes.var(axis=0)
    own = np.sqrt((squares + worth * usual**2) / (rows.count - 1 + worth))
    return np.asarray(np.where(squares > 0, own, usual))


def _averaged(away: Array, between: Array, noise: Array) -> tuple[Array, Array]:
    """Mean and variances of a Normal(0, f between) vector, seen as `away` through Normal(0, noise), over `FACTORS`."""
    signal = FACTORS[:, None, None] * between
    root = np.linalg.cholesky(signal + noise)
    whitened = np.linalg.solve(
        root, np.concatenate([signal, np.broadcast_to(away[:, None], (len(root), len(away), 1))], 2)
    )
    gain, seen = whitened[:, :, :-1], whitened[:, :, -1]
    likelihood = -np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1) - (seen**2).sum(axis=1) / 2
    part = np.exp(likelihood - likelihood.max())
    part /= part.sum()
    means = np.einsum("fij,fi->fj", gain, seen)
    variances = np.diagonal(signal, axis1=1, axis2=2) - (gain**2).sum(axis=1)
    mean = part @ means
    return mean, np.maximum(part @ (variances + means**2) - mean**2, 0.0)


def measured(values: Array, scale: Array) -> Array:
    """Differences in units of their columns' scales, within +-`Z_CLIP`."""
    return np.asarray(np.clip(values / scale, -Z_CLIP, Z_CLIP))


def _shrunk(covariance: Array, samples: Array, least: Array | float) -> Array:
    """Without negative variances, drawn to its diagonal, which is at least `least`.

    How far, `samples` decide, of which there are fewer than pairs of columns (Ledoit and Wolf 2004, of correlations).
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    spread = np.sqrt((samples**2).mean(axis=0)) if len(samples) else np.zeros(samples.shape[1])
    varying = spread > _TINY
    part = 1.0
    if len(samples) > 1 and varying.any():
        found = ledoit_wolf_shrinkage(samples[:, varying] / spread[varying], assume_centered=True)
        part = max(float(found), _LEAST_DRAWN)
    values, vectors = np.linalg.eigh(covariance)
    proper = (vectors * np.maximum(values, 0.0)) @ vectors.T
    diagonal = np.diag(proper)
    return np.asarray((1 - part) * proper + np.diag(np.maximum(diagonal, least) - (1 - part) * diagonal))


def _logarithms(rows: ClassRows) -> tuple[Array, Array]:
    """Logarithms of a network's own scales, 0 where it has none, and 1 where it has one."""
    scale = np.concatenate([rows.class_scale, rows.pairs.scale])
    known = scale > _TINY
    return np.log(np.where(known, scale, 1.0)), known.astype(np.float64)

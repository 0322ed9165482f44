"""Rows of classes and pairs made of noise, as samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from weightfeat.detector import Samples, Target
from weightfeat.detector.classes.pairs import Pairs
from weightfeat.detector.classes.rows import CLASS_COLUMNS, ClassRows
from weightfeat.digest import Digest
from weightfeat.digest.latents import KINDS

CLASSES = 6


def noise_pairs(rng: np.random.Generator, classes: int, scale: float | None = None) -> Pairs:
    """Pairs of random tables; `scale` in the place of their own robust scales."""
    rows = rng.normal(size=(3, classes, 8))
    runner_up = rng.integers(0, 50, size=(len(KINDS), classes, classes)).astype(np.float64)
    for table in runner_up:
        np.fill_diagonal(table, 0.0)
    pairs = Pairs.of([each @ each.T for each in rows], runner_up, rng.normal(size=(2, classes, classes)))
    return pairs if scale is None else dataclasses.replace(pairs, scale=np.full_like(pairs.scale, scale))


def class_sample(
    count: int = 40, strength: float = 3.0, seed: int = 0
) -> tuple[list[ClassRows], np.ndarray, list[Target | None]]:
    """Rows of noise in which the target's first columns, and the trojan's pair, are raised."""
    rng = np.random.default_rng(seed)
    rows, targets = [], []
    labels = np.arange(count) % 2
    for label in labels:
        classes = rng.normal(size=(CLASSES, len(CLASS_COLUMNS)))
        pairs, target = noise_pairs(rng, CLASSES), None
        if label:
            t, s = (int(i) for i in rng.choice(CLASSES, 2, replace=False))
            target = Target(t, (s,))
            classes[t, :3] += strength
            for switch in pairs.switches:
                switch[t, s] += 2 * strength
        rows.append(
            ClassRows(
                "a", "f", True, classes, np.ones(len(CLASS_COLUMNS)), pairs, np.zeros((len(classes), 4))
            )
        )
        targets.append(target)
    return rows, labels, targets


def samples_of(
    rows: Sequence[ClassRows],
    labels: Sequence[int],
    targets: Sequence[Target | None],
    group: Sequence[str] | None = None,
) -> Samples:
    """Networks of which no more than their rows of classes is known."""
    digests = [Digest("", r.architecture, r.family, "", r.count, {}, {}) for r in rows]
    samples = Samples.of_digests(digests, labels, targets=tuple(targets), group=group)
    for network, own in zip(samples.networks, rows, strict=True):
        network.__dict__["class_rows"] = own  # as if it had been computed
    return samples

"""All that the general model reads of a network, computed once however many folds ask for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weightfeat.detector.classes.rows import ClassRows
from weightfeat.detector.general.numbers import NUMBERS, answer_numbers, numbers
from weightfeat.detector.general.statistics import answered, table
from weightfeat.features.summaries import Array

__all__ = ["Standing", "standing"]

_CLIP = 6.0


@dataclass(frozen=True, eq=False)
class Standing:
    """A network's classes, measured by each other alone.

    Attributes
    ----------
    table : (C, 2 len(COLUMNS)), of every class: `statistics.table`.
    numbers : (len(NUMBERS),), of the loudest one: `numbers.numbers`; zeros for a network of fewer than two classes.
    cycle : (len(CYCLE_COLUMNS),), how far each is tied to the next, within +-6.
    normed : whether a batch norm feeds the head.
    answers : (C, len(ANSWERED)), z of every class in what the network answers; None where it was not asked.
    """

    table: Array
    numbers: Array
    cycle: Array
    normed: bool
    answers: Array | None = None

    @property
    def count(self) -> int:
        """Number of classes."""
        return len(self.table)

    def told(self, suspect: int) -> Array:
        """(len(NUMBERS) + len(ANSWER_NUMBERS),): how far one class stands out, where the weights suspect `suspect`."""
        return np.concatenate([self.numbers, answer_numbers(self.answers, suspect)])


def standing(rows: ClassRows) -> Standing:
    """From the rows of a network's classes."""
    loudest = numbers(rows) if rows.count > 1 else np.zeros(len(NUMBERS))
    answers = answered(rows)
    return Standing(table(rows, answers), loudest, np.clip(rows.cycle, -_CLIP, _CLIP), rows.normed, answers)

"""What shapes the class models."""

from __future__ import annotations

from dataclasses import dataclass

from weightfeat.metaparameters import Metaparameters

LARGEST = 1e6
"""Settings are read with learned parameters too; beyond this, what is computed with them may be no number."""


@dataclass(frozen=True)
class ClassSettings:
    """`class_c` and `pair_c` are the models' prior variances of a standard row's logit (`fit_linear`).

    `class_own_c` is that of what networks with, or without, a batch norm before the head add of their own (`models`),
    `class_family_c` of what a family adds.

    `squares` is the prior variance of a statistic's signed square, in that of the statistic itself (`joint`).

    `scale_classes` is how many classes an architecture's scale counts as beside a network's own (`scales`).

    `folds` is how many parts the training networks are dealt into for their own, out-of-fold, evidence; `seed`
    decides how.
    """

    class_c: float = 3.0
    class_own_c: float = 6.0
    class_family_c: float = 3.0
    squares: float = 0.1
    scale_classes: float = 90.0
    pair_c: float = 3.0
    folds: int = 5
    seed: int = 20

    @classmethod
    def of(cls, params: Metaparameters) -> ClassSettings:
        """The values that the metaparameters give."""
        return cls(
            class_c=params.train_class_c,
            class_own_c=params.train_class_own_c,
            class_family_c=params.train_class_family_c,
            squares=params.train_class_squares,
            scale_classes=params.train_class_scale_classes,
            pair_c=params.train_class_pair_c,
            folds=params.train_class_folds,
            seed=params.train_seed,
        )

    def __post_init__(self) -> None:
        positive = (self.class_c, self.class_own_c, self.class_family_c, self.pair_c, self.scale_classes)
        bounded = all(0 < value <= LARGEST for value in positive) and 0 <= self.squares <= LARGEST
        if not (bounded and self.folds >= 2):
            raise ValueError(
                f"variances and classes must be positive, squares not negative, none of them beyond {LARGEST:g}, "
                f"and folds at least 2, not {self}"
            )

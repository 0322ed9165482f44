"""What shapes the class models."""

from __future__ import annotations

from dataclasses import dataclass

from weightfeat.metaparameters import Metaparameters


@dataclass(frozen=True)
class ClassSettings:
    """`class_c` and `pair_c` are the models' prior variances of a standard row's logit (`fit_linear`).

    `class_own_c` is that of what networks with, or without, a batch norm before the head add of their own (`models`),
    `class_family_c` of what a family adds.

    `naming` is what naming the target among its network's classes weighs beside telling the networks apart; at 1 both
    together are the likelihood of what METADATA says.

    `folds` is how many parts the training networks are dealt into for their own, out-of-fold, evidence; `seed`
    decides how.
    """

    class_c: float = 3.0
    class_own_c: float = 12.0
    class_family_c: float = 1.0
    naming: float = 1.0
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
            naming=params.train_class_naming,
            pair_c=params.train_class_pair_c,
            folds=params.train_class_folds,
            seed=params.train_seed,
        )

    def __post_init__(self) -> None:
        positive = min(self.class_c, self.class_own_c, self.class_family_c, self.pair_c) > 0
        if not (positive and self.naming >= 0 and self.folds >= 2):
            raise ValueError(
                f"variances must be positive, naming not negative and folds at least 2, not {self}"
            )

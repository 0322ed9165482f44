"""What shapes the class models; each value is meant to be a metaparameter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassSettings:
    """`class_c` and `pair_c` are the logistic regressions' prior variances of a standard row's logit (`fit_linear`).

    `folds` is how many parts the training networks are dealt into for their own, out-of-fold, evidence; `seed`
    decides how.
    """

    class_c: float = 10.0
    pair_c: float = 3.0
    folds: int = 5
    seed: int = 20

    def __post_init__(self) -> None:
        if not (self.class_c > 0 and self.pair_c > 0 and self.folds >= 2):
            raise ValueError(f"class_c and pair_c must be positive and folds at least 2, not {self}")

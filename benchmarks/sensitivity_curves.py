"""Which metaparameters matter: fANOVA over a search's trials, and the loss as each moves away from the value chosen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.folds import Fold
from weightfeat.detector.out_of_fold import Progress
from weightfeat.detector.samples import Samples
from weightfeat.errors import WeightfeatError
from weightfeat.evaluation.crossval import Estimator, cross_validate
from weightfeat.evaluation.intervals import Estimate, bootstrap, paired_bootstrap

if TYPE_CHECKING:
    import optuna

RESAMPLES = 20
LEAST_TRIALS = 10
"""Complete trials below which a forest over dozens of metaparameters says nothing."""


class Values(Protocol):
    """Metaparameters, as far as varying them goes."""

    def as_dict(self) -> dict[str, Any]:
        """Every value by name."""

    def replace(self, **values: Any) -> Self:
        """A copy with some values changed."""


V = TypeVar("V", bound=Values)


@dataclass(frozen=True)
class Importance:
    """Share of the loss's variance over the search space that one metaparameter explains by itself.

    `low` and `high` are the 5 and 95 % quantiles over resamples of the trials.
    """

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Step:
    """The loss with one metaparameter at `value` and all others as chosen; `more` is the paired difference from chosen.

    Both are NaN where the values cannot be used together, and `refusal` says why.
    """

    name: str
    value: Any
    chosen: bool
    cross_entropy: Estimate
    more: Estimate
    refusal: str = ""


def importances(study: optuna.Study, *, seed: int = 0) -> tuple[Importance, ...]:
    """Main effects by fANOVA (Hutter et al. 2014) over complete trials, the greatest first; they sum to one.

    Empty with fewer than LEAST_TRIALS complete trials, or where all have the same loss. A search by TPE has looked
    mostly where the loss is small, so they speak of the neighbourhood of good values more than of the whole space.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(trials) < LEAST_TRIALS or len({trial.value for trial in trials}) < 2:
        return ()
    rng = np.random.default_rng(seed)
    whole = _fanova(trials, seed)
    drawn = []
    for number in range(RESAMPLES):
        part = [trials[i] for i in rng.integers(len(trials), size=len(trials))]
        if len({trial.value for trial in part}) > 1:
            drawn.append(_fanova(part, seed + 1 + number))
    found = []
    for name, value in whole.items():
        low, high = np.quantile([one[name] for one in drawn], (0.05, 0.95))
        found.append(Importance(name, value, float(low), float(high)))
    return tuple(sorted(found, key=lambda one: (-one.value, one.name)))


def _fanova(trials: Sequence[optuna.trial.FrozenTrial], seed: int) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    study = optuna.create_study()
    study.add_trials(trials)
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(share) for name, share in shares.items()}


def steps_over(distribution: optuna.distributions.BaseDistribution, points: int) -> list[Any]:
    """At most `points` values from one bound of a search's distribution to the other, or every choice it has."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    spaced = np.geomspace if distribution.log else np.linspace
    values = spaced(distribution.low, distribution.high, points)
    if isinstance(distribution, IntDistribution):
        return sorted({int(value) for value in values.round()})
    rounded = [float(f"{value:.6g}") for value in values]  # six digits, to be readable
    return [min(max(value, distribution.low), distribution.high) for value in rounded]


def vary(chosen: V, names: Sequence[str], study: optuna.Study, points: int) -> Iterator[tuple[str, Any, V]]:
    """One metaparameter at a time over what the search drew from: name, value and all values together."""
    distributions = study.best_trial.distributions
    for name in names:
        for value in steps_over(distributions[name], points):
            if value != chosen.as_dict()[name]:
                yield name, value, chosen.replace(**{name: value})


def curves(
    samples: Samples,
    chosen: V,
    varied: Sequence[tuple[str, Any, V]],
    make: Callable[[V], Estimator],
    *,
    study: KeptStudy,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[Step, ...]:
    """Cross-validated loss of every variation, and of the chosen values, on the same folds; by name, then value.

    What is finished is kept in the study, and taken from there when asked again. Raises BadMetaparameters where the
    chosen values themselves cannot be used.
    """
    y = samples.y

    def probabilities(params: V) -> NDArray[np.float64]:
        key = study.key(y, params.as_dict())
        found = study.get(key)
        if found is None:
            found = cross_validate(samples, partial(make, params), study.folds, jobs=jobs).probabilities
            study.keep(key, found)
        return found

    base = probabilities(chosen)
    own, nan = bootstrap(y, base, "cross_entropy"), Estimate(*[float("nan")] * 3)
    names = list(dict.fromkeys(name for name, _, _ in varied))
    found = [Step(name, chosen.as_dict()[name], True, own, Estimate(0.0, 0.0, 0.0)) for name in names]
    for number, (name, value, params) in enumerate(varied):
        try:
            moved = probabilities(params)
            loss = bootstrap(y, moved, "cross_entropy")
            more = paired_bootstrap(y, moved, base, "cross_entropy")
            found.append(Step(name, value, False, loss, more))
        except WeightfeatError as error:
            found.append(Step(name, value, False, nan, nan, str(error)))
        if progress is not None:
            progress(number + 1, len(varied))
    return tuple(sorted(found, key=lambda step: (names.index(step.name), _place(step.value))))


def _place(value: Any) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))


@dataclass(frozen=True, eq=False)
class KeptStudy:
    """Cross-validations on one set of folds, kept in a study."""

    study: optuna.Study
    folds: Sequence[Fold]

    def key(self, y: NDArray[np.int64], values: Mapping[str, Any]) -> str:
        """What tells one cross-validation from all others."""
        data = json.dumps([y.tolist(), [fold.test.tolist() for fold in self.folds]])
        return hashlib.sha256((data + json.dumps(values, sort_keys=True)).encode()).hexdigest()

    def get(self, key: str) -> NDArray[np.float64] | None:
        """The probabilities kept under a key."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.user_attrs.get("key") == key:
                return np.array(trial.user_attrs["probabilities"], dtype=np.float64)
        return None

    def keep(self, key: str, probabilities: NDArray[np.float64]) -> None:
        """Add them as a finished trial: a journal holds whole entries only, so a killed run loses the one under way."""
        import optuna

        attributes = {"key": key, "probabilities": probabilities.tolist()}
        self.study.add_trial(optuna.create_trial(value=0.0, user_attrs=attributes))

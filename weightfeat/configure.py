"""Learning a detector from labelled digests, and searching its metaparameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightfeat import features
from weightfeat.classmodel import ClassEvidence, ClassSettings, class_rows, targets_of
from weightfeat.classmodel.pipeline import WithClassEvidence
from weightfeat.detector import Detector
from weightfeat.files import write_atomically
from weightfeat.judge import Judge, new_detector
from weightfeat.metaparameters import Metaparameters, read_json, search_space
from weightfeat.rounds.labelled import LabelledSet

if TYPE_CHECKING:
    import pandas as pd

    from weightfeat.evaluation.crossval import Estimator, Progress

Log = Callable[[str], None]

HELD = (
    "train_seed",
    "train_search_trials",
    "train_ensemble_size",
    "train_block_moments",
    "train_block_training_length",
    "infer_unseen_trees",
)
"""What a search leaves alone: a seed must not be chosen by its luck, trials do not shape a detector, more bags are only
ever better, the two blocks read traces of the training run, which an audit may switch on but no search for a
lower loss, and folds that spread every architecture over learning and test hardly show how unseen ones are judged."""

FEW_BAGS = 3
"""Bags grown where many detectors are compared, all with as many: they only average, and each costs a fit its time."""


def feature_table(labelled: LabelledSet, blocks: tuple[str, ...]) -> pd.DataFrame:
    """One row a model, indexed by model name, with the columns of the given feature blocks."""
    return features.table(labelled.digests, blocks).set_axis(list(labelled.names), axis=0)


def estimators(labelled: LabelledSet) -> Callable[[Metaparameters], Estimator]:
    """Makes the unfitted detector of given metaparameters, its class evidence learned wherever it is fitted.

    Class rows are made once. Targets are looked up by name in `fit`, for the networks given there and no others.
    """
    rows = dict(zip(labelled.names, map(class_rows, labelled.digests), strict=True))
    targets = dict(zip(labelled.names, targets_of(labelled), strict=True))
    return partial(_estimator, rows=rows, targets=targets)


def trial_estimators(labelled: LabelledSet) -> Callable[[Metaparameters], Estimator]:
    """`estimators` that grow few bags: to compare metaparameters with, not to ship."""
    return partial(_of_few_bags, estimators(labelled))


def with_few_bags(params: Metaparameters) -> Metaparameters:
    """The same with `FEW_BAGS` bags at most."""
    return params.replace(train_ensemble_size=min(params.train_ensemble_size, FEW_BAGS))


def _of_few_bags(make: Callable[[Metaparameters], Estimator], params: Metaparameters) -> Estimator:
    return make(with_few_bags(params))


def _estimator(params: Metaparameters, **known: Any) -> Estimator:
    detector = partial(new_detector, params)
    if not params.train_class_evidence:
        return detector()
    return WithClassEvidence(detector, settings=ClassSettings.of(params), **known)


def learn(labelled: LabelledSet, params: Metaparameters, learned: Path, *, jobs: int = 1, log: Log) -> Judge:
    """Fit on all of `labelled` and save it; the folder's old content stays usable until the end.

    What its calibration folds scored on the models they had not seen is kept with it.

    Raises
    ------
    WeightfeatError : too few models, or a folder that cannot be written to.
    """
    table = feature_table(labelled, params.blocks)
    evidence = ClassEvidence(ClassSettings.of(params)) if params.train_class_evidence else None
    if evidence is not None:
        targets = targets_of(labelled)
        log(f"learning classes: {sum(target is not None for target in targets)} networks name their target")
        # Out of fold for these networks; what is saved has learned from all of them.
        known = (labelled.digests, labelled.labels, targets, labelled.groups, labelled.names)
        table = table.join(evidence.fit_transform(*known))
    log(f"learning: {len(table)} models, {sum(labelled.labels)} poisoned, {table.shape[1]} features")
    detector = new_detector(params, workers(jobs)).fit(
        table,
        labelled.labels,
        architecture=labelled.architectures,
        family=labelled.families,
        groups=labelled.groups,
    )
    scores = _out_of_fold_scores(detector, labelled.labels)
    log(f"out of fold: {', '.join(f'{name} {value:.4f}' for name, value in scores.items()) or 'no folds'}")
    judge = Judge(detector, evidence)
    judge.save(learned, scores)
    log(f"learned parameters saved in {learned}")
    return judge


def _out_of_fold_scores(detector: Detector, labels: Sequence[int]) -> dict[str, float]:
    """Metrics of the calibrated out-of-fold probabilities; a little kind, since calibration saw all of them."""
    from weightfeat.evaluation import metrics

    probability = detector.out_of_fold_.probability
    if probability is None:
        return {}
    return {
        "cross_entropy": metrics.cross_entropy(labels, probability),
        "brier": metrics.brier(labels, probability),
        "roc_auc": metrics.roc_auc(labels, probability),
    }


def search(
    labelled: LabelledSet,
    params: Metaparameters,
    schema_path: Path,
    *,
    trials: int,
    storage: Path | None = None,
    jobs: int = 1,
    seed: int = 0,
    progress: bool = True,
    log: Log = lambda line: None,
) -> Metaparameters:
    """The metaparameters of least cross-validated cross-entropy within the schema's bounds, if not by luck alone.

    `params` are tried first, are kept where no lead over them rules out chance, and give the values that are held.
    With `storage` a stopped search goes on.
    """
    from weightfeat.evaluation.search import tune

    schema, held = read_json(schema_path), _held(params)
    with bar("tune", "trial", progress) as advance:
        found = tune(
            partial(feature_table, labelled),
            labelled.labels,
            labelled.architectures,
            labelled.families,
            labelled.groups,
            space=partial(search_space, schema=schema, fixed=held),
            make_detector=trial_estimators(labelled),
            trials=trials,
            start=_within(params, schema, held),
            storage_path=storage,
            jobs=workers(jobs),
            seed=seed,
            progress=advance,
            log=lambda line: log(f"search: {line}"),
        )
    changed = [name for name, value in found.as_dict().items() if value != getattr(params, name)]
    log(f"search: {trials} trials changed {', '.join(changed) or 'nothing'}")
    return found


def searching(
    labelled: LabelledSet,
    params: Metaparameters,
    schema_path: Path,
    *,
    trials: int,
    from_params: bool = False,
    seed: int = 0,
    journals: Path | None = None,
) -> Callable[[], Estimator]:
    """Makes a detector that searches its metaparameters on the models it is fitted on, for nested cross-validation.

    Its table needs the columns of every block. Of `params` it takes the held values alone, for the others may have been
    chosen on models that a fold tests; with `from_params` it begins with all of them, as `search` does, which is
    honest for models that had no part in choosing them. Under `journals` stopped searches go on.
    """
    from weightfeat.evaluation.nested import Tuned

    schema, held = read_json(schema_path), _held(params)
    space = partial(search_space, schema=schema, fixed=held)
    start = _within(params, schema, held) if from_params else None
    makers = trial_estimators(labelled), estimators(labelled)
    return partial(Tuned, features.names, space, *makers, trials, start=start, seed=seed, journals=journals)


def write_metaparameters(path: Path, params: Metaparameters, log: Log) -> None:
    """Write metaparameters.json whole or not at all."""
    write_atomically(path, json.dumps(params.as_dict(), indent=2) + "\n", "metaparameters file")
    log(f"metaparameters written to {path}")


def _held(params: Metaparameters) -> dict[str, Any]:
    return {name: value for name, value in params.as_dict().items() if name in HELD}


def _within(params: Metaparameters, schema: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """The values a search may start from: those that are not held and lie within the bounds it draws from."""
    start = {}
    for name, value in params.as_dict().items():
        rule = schema["properties"][name]
        low = rule.get("suggested_minimum", rule.get("minimum", value))
        high = rule.get("suggested_maximum", rule.get("maximum", value))
        if name not in held and (isinstance(value, str) or low <= value <= high):
            start[name] = value
    return start


def workers(jobs: int) -> int:
    """Processes to use: one a core where `jobs` is below one."""
    from joblib import cpu_count

    return jobs if jobs > 0 else int(cpu_count())


@contextmanager
def bar(what: str, unit: str, shown: bool) -> Iterator[Progress]:
    """A progress bar, as the `(done, total)` callback that evaluation calls."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, disable=not shown, dynamic_ncols=True) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance

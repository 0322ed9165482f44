"""Searching metaparameters: once, or inside every fold of a nested cross-validation."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightfeat import features
from weightfeat.detector import Detector, Samples
from weightfeat.files import write_atomically
from weightfeat.learning.running import progress_bar, workers
from weightfeat.metaparameters import Metaparameters, read_json, search_space

if TYPE_CHECKING:
    from weightfeat.evaluation.crossval import Estimator
    from weightfeat.evaluation.search import SearchPlan

logger = logging.getLogger(__name__)

HELD = ("train_seed", "train_search_trials", "train_ensemble_size", "train_block_data", "infer_probe")
"""What a search leaves alone: a seed must not be chosen by its luck, trials do not shape a detector, more bags are only
ever better, and what reads traces of the training run an audit may switch on but no search for a lower loss."""

SEARCH_BAGS = 3
"""Bags grown where many detectors are compared, all with as many: they only average, and each costs a fit its time."""


def with_search_bags(params: Metaparameters) -> Metaparameters:
    """The same with `SEARCH_BAGS` bags at most."""
    return params.replace(train_ensemble_size=min(params.train_ensemble_size, SEARCH_BAGS))


def trial_detector(params: Metaparameters, beside: Samples | None = None) -> Detector:
    """A detector that grows few bags: to compare metaparameters with, not to ship."""
    return Detector(with_search_bags(params), beside=beside)


def search(
    samples: Samples,
    params: Metaparameters,
    schema_path: Path,
    plan: SearchPlan,
    *,
    jobs: int = 1,
    progress: bool = True,
) -> Metaparameters:
    """The metaparameters of least cross-validated cross-entropy within the schema's bounds, if not by luck alone.

    `params` are tried first, are kept where no lead over them rules out chance, and give the values that are held.
    With a journal in the plan a stopped search goes on.
    """
    from weightfeat.evaluation.search import tune

    schema, held = read_json(schema_path), _held(params)
    space = partial(search_space, schema=schema, fixed=held)
    plan = replace(plan, start=_within(params, schema, held))
    with progress_bar("tune", "trial", progress) as advance:
        found = tune(
            samples.computed(features.BLOCKS),
            space,
            trial_detector,
            plan,
            jobs=workers(jobs),
            progress=advance,
        )
    changed = [name for name, value in found.as_dict().items() if value != getattr(params, name)]
    logger.info("search: %d trials changed %s", plan.trials, ", ".join(changed) or "nothing")
    return found


def journal_name(samples: Samples, params: Metaparameters, schema_path: Path) -> str:
    """A file name for this search's journal, another one for whatever else decides what it finds.

    So a folder that earlier searches left their journals in never gives one of them for another.
    """
    decisive = [
        version("weightfeat"),
        [network.digest.key for network in samples.networks],
        samples.y.tolist(),
        [repr(target) for target in samples.targets],
        list(samples.group),
        params.as_dict(),
        read_json(schema_path)["properties"],
    ]
    return f"weightfeat-search-{hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]}.journal"


def searching(
    params: Metaparameters,
    schema_path: Path,
    plan: SearchPlan,
    *,
    from_params: bool = False,
    journals: Path | None = None,
) -> Callable[[], Estimator]:
    """Makes a detector that searches its metaparameters on the models it is fitted on, for nested cross-validation.

    Of `params` it takes the held values alone, for the others may have been chosen on models that a fold tests; with
    `from_params` it begins with all of them, as `search` does, which is honest for models that had no part in choosing
    them. Under `journals` stopped searches go on.
    """
    from weightfeat.evaluation.nested import Tuned

    schema, held = read_json(schema_path), _held(params)
    space = partial(search_space, schema=schema, fixed=held)
    start = _within(params, schema, held) if from_params else None
    return partial(Tuned, space, trial_detector, Detector, replace(plan, start=start), journals)


def write_metaparameters(path: Path, params: Metaparameters) -> None:
    """Write metaparameters.json whole or not at all."""
    write_atomically(path, json.dumps(params.as_dict(), indent=2) + "\n", "metaparameters file")
    logger.info("metaparameters written to %s", path)


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

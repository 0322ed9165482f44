"""What the container does: say of one model how likely it is trojaned, or learn from a round."""

from __future__ import annotations

import logging
import time

from weightfeat.commands.arguments import other_recipes
from weightfeat.container import results
from weightfeat.container.flags import Request
from weightfeat.container.paths import confine, resolve
from weightfeat.files import make_folder

logger = logging.getLogger(__name__)

STORE = "weightfeat-digests"
"""Folder under scratch where configure keeps its digests, keyed by content: a second run goes on from them."""


def infer(request: Request) -> None:
    """Score `--model_filepath` and write `--result_filepath`; on any error no result file is left.

    Raises
    ------
    WeightfeatError : a path, parameter file or the model is not usable.
    """
    model, result = request.need("model_filepath"), request.need("result_filepath")
    results.prepare(result, request.features_filepath, model)
    confine(request.scratch_dirpath)
    start = time.perf_counter()
    from weightfeat import metaparameters
    from weightfeat.detector import Detector
    from weightfeat.rounds.scanning import analyse

    params = metaparameters.load(
        resolve(request, "metaparameters_filepath"), resolve(request, "schema_filepath")
    )
    learned = resolve(request, "learned_parameters_dirpath")
    detector = Detector.load(learned).with_inference(params)
    logger.info("learned parameters %s loaded after %.2f s", learned, time.perf_counter() - start)
    verdict = analyse(model, detector, device=request.device)
    if request.features_filepath is not None:
        results.write_features(request.features_filepath, verdict.features)
    results.write_result(result, verdict.probability)
    logger.info("result %s written, %.2f s in all", result, time.perf_counter() - start)


def configure(request: Request) -> None:
    """Learn from `--configure_models_dirpath` and save into `--learned_parameters_dirpath`.

    With `--automatic_configuration` the metaparameters are searched first, and saved beside what was learned. Killed
    and run again with the same scratch folder, it goes on from the digests and the trials that are there.

    Raises
    ------
    WeightfeatError : the round, a parameter file or an output path is not usable.
    """
    models = request.need("configure_models_dirpath")
    scratch = make_folder(request.need("scratch_dirpath"), "scratch folder")
    confine(scratch)
    from weightfeat import metaparameters
    from weightfeat.digest import DigestStore
    from weightfeat.evaluation.search import SearchPlan
    from weightfeat.learning.configure import learn
    from weightfeat.learning.tuning import journal_name, search, write_metaparameters
    from weightfeat.rounds.disk import read_round
    from weightfeat.rounds.gaps import warn_of_gaps
    from weightfeat.rounds.labelled import from_round

    parameters_path = resolve(request, "metaparameters_filepath")
    schema_path = resolve(request, "schema_filepath")
    params = metaparameters.load(parameters_path, schema_path)
    learned = make_folder(resolve(request, "learned_parameters_dirpath"), "learned parameters' folder")
    others = other_recipes()
    round_ = read_round(models)
    logger.info("round %s: %d models", round_.root, len(round_.entries))
    store = DigestStore(scratch / STORE)
    labelled = from_round(
        round_, store, jobs=request.jobs, device=request.device, allow_partial=request.allow_partial
    )
    warn_of_gaps(labelled)
    samples = labelled.samples
    if request.automatic_configuration:
        journal = scratch / journal_name(samples, params, schema_path)
        plan = SearchPlan(params.train_search_trials, journal=journal)
        params = search(samples, params, schema_path, plan, jobs=request.jobs)
    beside = None if others is None else others.samples
    learn(samples, params, learned, beside=beside, jobs=request.jobs)
    if request.automatic_configuration:
        write_metaparameters(learned / parameters_path.name, params)

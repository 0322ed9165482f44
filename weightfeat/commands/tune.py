"""`weightfeat tune`: searches the metaparameters on labelled models."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightfeat.commands.arguments import (
    add_labelled,
    add_parameter_files,
    labelled_set,
    natural,
    parameters,
    positive,
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat tune`."""
    add_labelled(command)
    add_parameter_files(command)
    command.add_argument(
        "--trials", type=positive, help="in all, resumed ones included; default: train_search_trials"
    )
    command.add_argument("--storage", type=Path, metavar="FILE", help="journal to resume from and share")
    command.add_argument("--seed", type=natural, default=0)
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the metaparameters found"
    )


def run(arguments: argparse.Namespace) -> int:
    """Search the metaparameters and write the best."""
    from weightfeat.evaluation.search import SearchPlan
    from weightfeat.files import check_writable
    from weightfeat.learning.tuning import search, write_metaparameters

    params = parameters(arguments)
    check_writable(arguments.output, "metaparameters file")
    trials = arguments.trials or params.train_search_trials
    plan = SearchPlan(trials, journal=arguments.storage, seed=arguments.seed)
    best = search(labelled_set(arguments).samples, params, arguments.schema, plan, jobs=arguments.jobs)
    write_metaparameters(arguments.output, best)
    return 0

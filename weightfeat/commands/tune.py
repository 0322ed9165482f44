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
from weightfeat.container import log


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
    from weightfeat.configure import search, write_metaparameters
    from weightfeat.files import check_writable

    params = parameters(arguments)
    check_writable(arguments.output, "metaparameters file")
    best = search(
        labelled_set(arguments),
        params,
        arguments.schema,
        trials=arguments.trials or params.train_search_trials,
        storage=arguments.storage,
        jobs=arguments.jobs,
        seed=arguments.seed,
        log=log,
    )
    write_metaparameters(arguments.output, best, log)
    return 0

"""`weightfeat tune`: searches the metaparameters on labelled models."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from weightfeat.commands.arguments import (
    add_labelled,
    add_parameter_files,
    labelled,
    natural,
    parameters,
    positive,
)

logger = logging.getLogger(__name__)


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
        labelled(arguments),
        params,
        arguments.schema,
        trials=arguments.trials or params.train_search_trials,
        storage=arguments.storage,
        jobs=arguments.jobs,
        seed=arguments.seed,
        log=logger.info,
    )
    write_metaparameters(arguments.output, best, logger.info)
    return 0

"""`weightfeat configure`: learns from labelled models."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightfeat.commands.arguments import (
    add_labelled,
    add_parameter_files,
    add_recipes,
    labelled_set,
    other_recipes,
    parameters,
)
from weightfeat.commands.defaults import default


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat configure`."""
    add_labelled(command)
    add_recipes(command)
    add_parameter_files(command)
    command.add_argument(
        "--learned-parameters",
        type=Path,
        default=default("learned_parameters_dirpath"),
        metavar="DIR",
        help="written there; default: in the place of the shipped ones",
    )


def run(arguments: argparse.Namespace) -> int:
    """Learn from a round or a digest folder."""
    from weightfeat.files import make_folder
    from weightfeat.learning.configure import learn

    params = parameters(arguments)
    learned = make_folder(arguments.learned_parameters, "learned parameters' folder")
    others = other_recipes(arguments.recipes)
    beside = None if others is None else others.samples
    learn(labelled_set(arguments).samples, params, learned, beside=beside, jobs=arguments.jobs)
    return 0

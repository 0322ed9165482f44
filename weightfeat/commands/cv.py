"""`weightfeat cv`: cross-validates on labelled models."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightfeat.commands.arguments import (
    add_labelled,
    add_parameter_files,
    add_recipes,
    at_least_two,
    labelled_set,
    natural,
    other_recipes,
    parameters,
    positive,
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat cv`."""
    add_labelled(command)
    add_recipes(command)
    add_parameter_files(command)
    command.add_argument("--folds", type=at_least_two, default=5)
    command.add_argument("--repeats", type=positive, default=3)
    command.add_argument("--seed", type=natural, default=0)
    command.add_argument(
        "--learning-curve", action="store_true", help="learn from parts of the models too (minutes more)"
    )
    command.add_argument(
        "--nested",
        type=positive,
        default=0,
        metavar="TRIALS",
        help="search metaparameters inside every fold (hours)",
    )
    command.add_argument(
        "--nested-start",
        action="store_true",
        help="begin these searches with metaparameters.json, as tune does: honest for models it was not chosen on",
    )
    command.add_argument(
        "--journals", type=Path, metavar="DIR", help="keep these searches there, to go on from when killed"
    )
    command.add_argument(
        "--output", type=Path, metavar="DIR", help="write tables, predictions and plots there"
    )


def run(arguments: argparse.Namespace) -> int:
    """Cross-validate on a round or a digest folder, print the table, and write it where asked."""
    from weightfeat.errors import BadOutput
    from weightfeat.files import make_folder
    from weightfeat.learning import measure

    params = parameters(arguments)
    for option, given in (("--journals", arguments.journals), ("--nested-start", arguments.nested_start)):
        if given and not arguments.nested:
            raise BadOutput("there is no search", where=option, expected="--nested TRIALS", remedy="add it")
    if arguments.output is not None:
        make_folder(arguments.output, "output folder")
    nested = None
    if arguments.nested:
        nested = measure.Nested(
            arguments.nested, arguments.schema, arguments.nested_start, arguments.journals
        )
    plan = measure.Plan(arguments.folds, arguments.repeats, arguments.seed, arguments.learning_curve, nested)
    others = other_recipes(arguments.recipes)
    found = labelled_set(arguments)
    beside = None if others is None else measure.Beside(others.samples, others.rows)
    measured = measure.measure(found.samples, found.rows, params, plan, beside=beside, jobs=arguments.jobs)
    print(measure.as_table(measured), end="")
    if arguments.output is not None:
        measure.write(arguments.output, measured)
    return 0

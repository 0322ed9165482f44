"""`weightfeat sensitivity`: says which metaparameters a search found to matter."""

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
    """The options of `weightfeat sensitivity`."""
    add_labelled(command)
    add_parameter_files(command)
    command.add_argument("--storage", type=Path, required=True, metavar="FILE", help="the search's journal")
    command.add_argument(
        "--parameters", type=positive, default=8, help="how many to move, most important first"
    )
    command.add_argument("--points", type=positive, default=4, help="values of each, from bound to bound")
    command.add_argument("--seed", type=natural, default=0, help="that of the search")
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="write tables and plots there"
    )


def run(arguments: argparse.Namespace) -> int:
    """Say which metaparameters matter, by a search's journal and by moving them one at a time."""
    from weightfeat.evaluation import sensitivity_report
    from weightfeat.files import make_folder
    from weightfeat.learning import sensitivity

    params = parameters(arguments)
    make_folder(arguments.output, "output folder")
    extent = sensitivity.Extent(arguments.parameters, arguments.points, arguments.seed)
    samples = labelled_set(arguments).samples
    found, steps = sensitivity.measure(samples, params, arguments.storage, extent, jobs=arguments.jobs)
    sensitivity.write(arguments.output, found, steps)
    print(sensitivity_report.as_markdown(found, steps), end="")
    return 0

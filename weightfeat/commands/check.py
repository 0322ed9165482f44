"""`weightfeat check`: its arguments, all lines in order, and an exit code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from weightfeat.commands.arguments import add_parameter_files
from weightfeat.commands.defaults import program
from weightfeat.errors import WeightfeatError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat check`; the files default to those a detector would take."""
    command.add_argument("--container", metavar="NAME", help="the file name it will be submitted under")
    command.add_argument(
        "--model", type=Path, metavar="FILE", help="try it on this model; default: a small one"
    )
    add_parameter_files(command, learned=True)
    command.add_argument("--seconds", type=float, default=900.0, help="time limit of a trial (default 900)")


def run(arguments: argparse.Namespace) -> int:
    """Print a line a check; 0 without a problem, else 2."""
    from weightfeat.server.api import Parameters
    from weightfeat.server.isolation import find
    from weightfeat.server.preflight.behaviour import behaviour
    from weightfeat.server.preflight.documents import container_name, files_in_place, schema_rules
    from weightfeat.server.preflight.learned import learned_parameters
    from weightfeat.server.preflight.lines import State, shown

    given = (arguments.metaparameters, arguments.schema, arguments.learned_parameters)
    metaparameters, schema, learned = (path.absolute() for path in given)
    lines = files_in_place(metaparameters, schema, learned, program())
    lines += schema_rules(metaparameters, schema)
    lines += [container_name(arguments.container)] if arguments.container else []
    lines += learned_parameters(learned, metaparameters, schema)
    command = (sys.executable, str(program()))
    parameters = Parameters(metaparameters, schema, learned)
    lines += behaviour(command, parameters, find(), arguments.model, seconds=arguments.seconds)
    for one in lines:
        print(shown(one))
    problems = sum(one.state is State.PROBLEM for one in lines)
    unchecked = sum(one.state is State.UNCHECKED for one in lines)
    print(f"{len(lines)} checks, {problems} problems, {unchecked} not made")
    return WeightfeatError.exit_code if problems else 0

"""`configure`, `cv`, `tune` and `sensitivity`: the subcommands that learn from labelled models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat.arguments import (
    add_machine,
    add_parameter_files,
    at_least_two,
    natural,
    parameters,
    positive,
)
from weightfeat.container import log
from weightfeat.container.defaults import default

if TYPE_CHECKING:
    from weightfeat.labelled import LabelledSet

    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def configure(arguments: argparse.Namespace) -> int:
    """Learn from a round or a digest folder."""
    from weightfeat.files import make_folder
    from weightfeat.learning.configure import learn

    params = parameters(arguments)
    learned = make_folder(arguments.learned_parameters, "learned parameters' folder")
    learn(_labelled(arguments).samples, params, learned, jobs=arguments.jobs, log=log)
    return 0


def cv(arguments: argparse.Namespace) -> int:
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
    labelled = _labelled(arguments)
    measured = measure.measure(labelled.samples, labelled.rows, params, plan, jobs=arguments.jobs)
    print(measure.as_table(measured), end="")
    if arguments.output is not None:
        measure.write(arguments.output, measured, log)
    return 0


def tune(arguments: argparse.Namespace) -> int:
    """Search the metaparameters and write the best."""
    from weightfeat.evaluation.search import SearchPlan
    from weightfeat.files import check_writable
    from weightfeat.learning.tuning import search, write_metaparameters

    params = parameters(arguments)
    check_writable(arguments.output, "metaparameters file")
    trials = arguments.trials or params.train_search_trials
    plan = SearchPlan(trials, journal=arguments.storage, seed=arguments.seed)
    best = search(_labelled(arguments).samples, params, arguments.schema, plan, jobs=arguments.jobs, log=log)
    write_metaparameters(arguments.output, best, log)
    return 0


def sensitivity(arguments: argparse.Namespace) -> int:
    """Say which metaparameters matter, by a search's journal and by moving them one at a time."""
    from weightfeat.evaluation import sensitivity_report
    from weightfeat.files import make_folder
    from weightfeat.learning import sensitivity

    params = parameters(arguments)
    make_folder(arguments.output, "output folder")
    extent = sensitivity.Extent(arguments.parameters, arguments.points, arguments.seed)
    samples = _labelled(arguments).samples
    found, steps = sensitivity.measure(samples, params, arguments.storage, extent, jobs=arguments.jobs)
    sensitivity.write(arguments.output, found, steps, log)
    print(sensitivity_report.as_markdown(found, steps), end="")
    return 0


def add_commands(commands: _Commands) -> None:
    """All of them, with their options."""
    for add in (_add_configure, _add_cv, _add_tune, _add_sensitivity):
        add(commands)


def _add_configure(commands: _Commands) -> None:
    command = commands.add_parser("configure", help="learn from labelled models")
    _source(command)
    add_parameter_files(command)
    command.add_argument(
        "--learned-parameters",
        type=Path,
        default=default("learned_parameters_dirpath"),
        metavar="DIR",
        help="written there; default: in the place of the shipped ones",
    )
    command.set_defaults(action=configure)


def _add_cv(commands: _Commands) -> None:
    command = commands.add_parser("cv", help="cross-validate on labelled models")
    _source(command)
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
    command.set_defaults(action=cv)


def _add_tune(commands: _Commands) -> None:
    command = commands.add_parser("tune", help="search the metaparameters")
    _source(command)
    add_parameter_files(command)
    command.add_argument(
        "--trials", type=positive, help="in all, resumed ones included; default: train_search_trials"
    )
    command.add_argument("--storage", type=Path, metavar="FILE", help="journal to resume from and share")
    command.add_argument("--seed", type=natural, default=0)
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the metaparameters found"
    )
    command.set_defaults(action=tune)


def _add_sensitivity(commands: _Commands) -> None:
    command = commands.add_parser("sensitivity", help="say which metaparameters a search found to matter")
    _source(command)
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
    command.set_defaults(action=sensitivity)


def _source(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--round", type=Path, metavar="DIR", help="a round's folder: its models are digested")
    source.add_argument("--digests", type=Path, metavar="DIR", help="a digest folder")
    command.add_argument(
        "--store", type=Path, default=Path("scratch"), metavar="DIR", help="keep a round's digests there"
    )
    add_machine(command)


def _labelled(arguments: argparse.Namespace) -> LabelledSet:
    from weightfeat.digest import DigestStore
    from weightfeat.labelled import DIGESTS, from_digests, from_round
    from weightfeat.rounds import read_round

    if arguments.digests is not None:
        return from_digests(arguments.digests)
    store = DigestStore(arguments.store / DIGESTS)
    return from_round(
        read_round(arguments.round), store, jobs=arguments.jobs, device=arguments.device, log=log
    )

"""`weightfeat evaluate`: its arguments, and from them to a report."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from weightfeat.commands.defaults import default, program
from weightfeat.errors import BadRound, WeightfeatError
from weightfeat.server.api import APIS, Parameters

IN_CONTAINER = ("/bin/sh", "/.singularity.d/runscript")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat evaluate`; the detector's command comes after `--`."""
    command.add_argument("round", type=Path, metavar="ROUND", help="a round's folder")
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="goes on where it was stopped"
    )
    command.add_argument("--api", choices=tuple(APIS), default="10", help="the round whose flags are passed")
    command.add_argument("--seconds", type=_seconds, default=900.0, help="a model; then TERM (default 900)")
    command.add_argument("--grace", type=_seconds, default=10.0, help="from TERM to KILL (default 10)")
    command.add_argument("--total-seconds", type=_seconds, help="of the detector on all models together")
    command.add_argument(
        "--scratch-mib", type=_seconds, default=16384.0, help="written by it a model (default 16384)"
    )
    command.add_argument("--seed", type=int, default=0, help="of the order of the models")
    command.add_argument("--sts", action="store_true", help="a smoke test: the first two models only")
    command.add_argument("--metaparameters", type=Path, help="passed to the detector where the flags have it")
    command.add_argument("--schema", type=Path, help="passed to the detector where the flags have it")
    command.add_argument("--learned-parameters", type=Path, help="passed where the flags have it")
    command.add_argument("--training-data", type=Path, metavar="DIR", help="the round's training data set")
    command.add_argument("--source-data", type=Path, metavar="DIR", help="the round's source data set")
    command.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="an unpacked container")
    command.add_argument("--user", type=int, help="user id to run detectors as, where you may choose")
    command.epilog = "after `--`: the detector's command; paths in it that exist here are made absolute"


def run(arguments: argparse.Namespace) -> int:
    """Run the round, print and write the report; 0 when every result is in order, else 2."""
    from weightfeat.files import make_folder
    from weightfeat.rounds.disk import read_round
    from weightfeat.server import report, server
    from weightfeat.server.isolation import find
    from weightfeat.server.places import Data
    from weightfeat.server.runner import Limits
    from weightfeat.server.trial import Program
    from weightfeat.server.verdicts import Reason

    rooted = arguments.root != Path("/")
    if rooted:
        parameters, command = Parameters(), tuple(arguments.command) or IN_CONTAINER
    else:
        parameters = _parameters(arguments)
        ours = (sys.executable, str(program()))
        command = _absolute(arguments.command) if arguments.command else ours
    settings = server.Settings(
        program=Program(command, arguments.api, parameters),
        limits=Limits(arguments.seconds, arguments.grace, int(arguments.scratch_mib * 2**20)),
        total=arguments.total_seconds,
        seed=arguments.seed,
        smoke_test=arguments.sts,
        data=Data(_folder(arguments.training_data), _folder(arguments.source_data)),
    )
    round_ = read_round(arguments.round)
    isolation = find(arguments.root.absolute(), arguments.user)
    output = make_folder(arguments.output, "evaluation's folder")
    with _ends_when_told():
        outcomes = server.evaluate(round_, output, settings, isolation)
    report.write(output, outcomes, isolation.described())
    print(report.as_table(outcomes, isolation.described()), end="")
    good = all(outcome.reason is Reason.OK for outcome in outcomes)
    return 0 if good else WeightfeatError.exit_code


def _absolute(command: Sequence[str]) -> tuple[str, ...]:
    """The command with those of its words that name files here made absolute: detectors run in another folder.

    A program that does not exist is an outcome of every model, as it would be for a harness.
    """
    program = shutil.which(command[0]) or command[0]
    words = (program, *command[1:])
    return tuple(str(Path(word).absolute()) if word and Path(word).exists() else word for word in words)


@contextlib.contextmanager
def _ends_when_told() -> Iterator[None]:
    """Take TERM and HUP like ctrl-C, so that the running detector is ended with the server."""
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _folder(given: Path | None) -> Path | None:
    """A data set's folder, absolute; BadRound where it is none."""
    if given is not None and not given.is_dir():
        raise BadRound(
            "not a folder" if given.exists() else "no such folder",
            where=given,
            expected="a data set's folder",
            remedy="check the path",
        )
    return None if given is None else given.absolute()


def _parameters(arguments: argparse.Namespace) -> Parameters:
    return Parameters(
        (arguments.metaparameters or default("metaparameters_filepath")).absolute(),
        (arguments.schema or default("schema_filepath")).absolute(),
        (arguments.learned_parameters or default("learned_parameters_dirpath")).absolute(),
    )


def _seconds(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number

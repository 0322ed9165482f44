"""`weightfeat` and `train_meta.py`: says how likely an image classifier is trojaned, from its weight file alone."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat import __version__, learning_commands
from weightfeat.arguments import add_device, add_machine, add_parameter_files, parameters
from weightfeat.container import log, run
from weightfeat.container.defaults import wait_quietly
from weightfeat.errors import WeightfeatError, one_line
from weightfeat.extras import needs
from weightfeat.preflight.command import add_arguments as check_arguments
from weightfeat.server.command import add_arguments as evaluation_arguments

if TYPE_CHECKING:
    from weightfeat.detector import Verdict

RUNS_NETWORKS = {
    "baseline": "score a model by another method, which runs it on images",
    "repair": "make a trojaned model answer its trigger no more",
    "guard": "classify images, refusing those that seem to carry a trigger",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; exit codes as in :func:`weightfeat.container.main`."""
    return run(lambda: _dispatch(sys.argv[1:] if argv is None else argv))


def _dispatch(argv: Sequence[str]) -> int:
    given, after = _until_dashes(argv)
    runs_networks = given[:1] and given[0] in RUNS_NETWORKS
    with needs("zoo", f"weightfeat {given[0]}") if runs_networks else nullcontext():
        arguments = _parser(given[:1]).parse_args(given)
        arguments.command = after
        wait_quietly()
        return _until_unread(lambda: int(arguments.action(arguments)))


def _until_unread(action: Callable[[], int]) -> int:
    """The exit code of `action`; that of a process ended by SIGPIPE where stdout is closed on it, as `| head` does."""
    try:
        code = action()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed at the exit
        return 128 + signal.SIGPIPE
    return code


def digest(arguments: argparse.Namespace) -> int:
    """Digest every model of a round into a digest folder; 2 where any model could not be digested."""
    from weightfeat.digest import DigestStore
    from weightfeat.extraction import digest_models
    from weightfeat.labelled import DIGESTS, require_own_folder, write_digest_folder
    from weightfeat.rounds import read_round

    round_ = read_round(arguments.round)
    require_own_folder(arguments.store, round_)
    paths = [entry.path for entry in round_.entries if entry.path is not None]
    store = DigestStore(arguments.store / DIGESTS)
    report = digest_models(
        paths, store, jobs=arguments.jobs, device=arguments.device, scheduler=arguments.dask_scheduler
    )
    write_digest_folder(arguments.store, round_, report)
    log(f"{arguments.store}: {report.summary()}")
    return WeightfeatError.exit_code if report.failures or round_.left_out else 0


def scan(arguments: argparse.Namespace) -> int:
    """A line a file on stdout, findings on stderr; 2 where any could not be analysed, after the others were."""
    from weightfeat.detector import Detector
    from weightfeat.scan import analyse

    detector = Detector.load(arguments.learned_parameters).with_inference(parameters(arguments))
    code = 0
    for path in arguments.files:
        try:
            verdict = analyse(path, detector, device=arguments.device)
        except Exception as error:  # whatever one file does, the next ones are still looked at
            foreseen = isinstance(error, WeightfeatError)
            said = str(error) if foreseen else f"{path}: unforeseen {type(error).__name__}: {error}"
            print(f"error: {one_line(said)}", file=sys.stderr, flush=True)
            if arguments.json:
                print(json.dumps({"path": str(path), "error": said}), flush=True)
            code = WeightfeatError.exit_code
            continue
        print(_as_json(verdict) if arguments.json else _line(verdict), flush=True)
        for finding in verdict.findings:
            log(f"{path}: finding: {finding}")
    return code


def evaluate(arguments: argparse.Namespace) -> int:
    """Run a detector over a round as an evaluation server would; 2 where any result is missing or bad."""
    from weightfeat.server.command import evaluate

    return evaluate(arguments, log)


def check(arguments: argparse.Namespace) -> int:
    """Check a submission as NIST does before running it, and what it cannot check; 2 where there is a problem."""
    from weightfeat.preflight.command import check

    return check(arguments)


def _until_dashes(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The arguments before and after `--`; only `evaluate` runs a command, elsewhere `--` keeps its usual meaning."""
    if argv[:1] != ["evaluate"] or "--" not in argv:
        return argv, ()
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _line(verdict: Verdict) -> str:
    from weightfeat.detector import NAMED_FROM

    low, high = verdict.interval
    unknown = ""
    if verdict.compared_with != "architecture":
        unknown = " (not learned from)"
    elif verdict.nearer >= 1:
        unknown = " (unlike all learned from)"
    suspect = verdict.suspect
    named = f"  target {suspect.target}?" if suspect and verdict.probability >= NAMED_FROM else ""
    what = f"{verdict.architecture}{unknown}  {verdict.num_classes} classes{named}"
    return one_line(f"{verdict.probability:.4f} [{low:.2f}, {high:.2f}]  {what}  {verdict.path}")


def _as_json(verdict: Verdict) -> str:
    return json.dumps(
        {
            "path": str(verdict.path),
            "probability": verdict.probability,
            "interval": verdict.interval,
            "architecture": verdict.architecture,
            "classes": verdict.num_classes,
            "novelty": verdict.novelty,
            "nearer": verdict.nearer,
            "compared_with": verdict.compared_with,
            "suspect": None if verdict.suspect is None else asdict(verdict.suspect),
            "findings": verdict.findings,
            "reasons": verdict.reasons,
            "seconds": round(verdict.seconds, 3),
        }
    )


def _parser(named: Sequence[str] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="weightfeat", description=__doc__)
    parser.add_argument("--version", action="version", version=f"weightfeat {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("digest", help="digest a round's models into a folder that replaces them")
    command.add_argument("round", type=Path, metavar="DIR", help="a round's folder")
    command.add_argument("--store", type=Path, required=True, metavar="DIR", help="the digest folder")
    add_machine(command)
    command.add_argument(
        "--dask-scheduler", metavar="ADDRESS", help="work on this cluster (tcp://host:8786) instead of here"
    )
    command.set_defaults(action=digest)

    learning_commands.add_commands(commands)

    command = commands.add_parser("scan", help="say of each model file how likely it is trojaned")
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a network's weight file")
    command.add_argument("--json", action="store_true", help="a JSON object a line")
    add_device(command)
    add_parameter_files(command, learned=True)
    command.set_defaults(action=scan)

    command = commands.add_parser(
        "evaluate", help="run a detector over a round as an evaluation server would"
    )
    evaluation_arguments(command)
    command.set_defaults(action=evaluate)

    command = commands.add_parser("check", help="check a submission before it is sent")
    check_arguments(command)
    command.set_defaults(action=check)

    for name, purpose in RUNS_NETWORKS.items():
        command = commands.add_parser(name, help=purpose)
        if name in named:  # its options alone need torch, which no other command's start should wait for
            from weightfeat.baselines.behaviour.command import add_command

            add_command(name, command, log)
    return parser

"""`weightfeat` and `train_meta.py`: says how likely an image classifier is trojaned, from its weight file alone."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module

from weightfeat import __version__
from weightfeat.commands.program import run, wait_quietly
from weightfeat.errors import needs

COMMANDS = {
    "digest": "digest a round's models into a folder that replaces them",
    "configure": "learn from labelled models",
    "cv": "cross-validate on labelled models",
    "tune": "search the metaparameters",
    "scan": "say of each model file how likely it is trojaned",
    "calibrate": "tell the detector what is usual among your own clean models",
    "explain": "say why a model file got its verdict",
    "evaluate": "run a detector over a round as an evaluation server would",
    "check": "check a submission before it is sent",
    "baseline": "score a model by another method, which runs it on images",
    "repair": "make a trojaned model answer its trigger no more",
    "guard": "classify images, refusing those that seem to carry a trigger",
    "zoo": "train a round of clean and poisoned networks",
    "recipes": "train pairs of cheap networks of many recipes",
    "stamped": "draw fresh images of a zoo's network, with its trigger on them or clean",
}
"""What each subcommand is for; its module in `weightfeat.commands` has its name."""

RUN_NETWORKS = frozenset({"baseline", "repair", "guard", "zoo", "recipes", "stamped"})
"""Those that need the packages of the extra zoo."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; exit codes as in :func:`weightfeat.commands.program.run`."""
    return run(lambda: _dispatch(sys.argv[1:] if argv is None else argv))


def _dispatch(argv: Sequence[str]) -> int:
    given, after = _until_dashes(argv)
    named = next((word for word in given if not word.startswith("-")), "")
    with needs("zoo", f"weightfeat {named}") if named in RUN_NETWORKS else nullcontext():
        arguments = _parser(named).parse_args(given)
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


def _until_dashes(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The arguments before and after `--`; only `evaluate` runs a command, elsewhere `--` keeps its usual meaning."""
    if argv[:1] != ["evaluate"] or "--" not in argv:
        return argv, ()
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _parser(named: str) -> argparse.ArgumentParser:
    """The options of the subcommand `named` only: those of others may need torch, which no other should wait for."""
    parser = argparse.ArgumentParser(prog="weightfeat", description=__doc__)
    parser.add_argument("--version", action="version", version=f"weightfeat {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        if name == named:
            module = import_module(f"weightfeat.commands.{name}")
            module.add_arguments(command)
            command.set_defaults(action=module.run)
    return parser

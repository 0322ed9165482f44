"""`weightfeat baseline`: scores a model by another method, which runs it on images."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

from weightfeat.behaviour.methods import METHODS
from weightfeat.behaviour.outputs import write_outcome
from weightfeat.behaviour.subjects import read_subject
from weightfeat.commands.on_images import add_subject, rate, work_of
from weightfeat.files import make_folder

logger = logging.getLogger(__name__)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat baseline METHOD`."""
    command.add_argument("method", choices=tuple(METHODS))
    add_subject(command)
    command.add_argument("--output", type=Path, metavar="DIR", help="results, pictures, state to go on from")
    command.add_argument("--stamped", type=Path, metavar="DIR", help="strip: images with the trigger on them")
    command.add_argument("--frr", type=rate, help="strip: false rejection rate (default 0.01)")


def run(arguments: argparse.Namespace) -> int:
    """Score one network by another method: a line on stdout, evidence in the output folder."""
    if arguments.output is not None:
        make_folder(arguments.output, "output folder")
    subject, key = read_subject(arguments.model, arguments.examples, arguments.device, arguments.input)
    work = work_of(arguments, key, arguments.output)
    start = time.perf_counter()
    outcome = METHODS[arguments.method](subject, work)
    seconds = round(time.perf_counter() - start, 2)
    if arguments.output is not None:
        extra = {"model": str(arguments.model), "seconds": seconds, "device": str(subject.device)}
        write_outcome(arguments.output, arguments.method, outcome, extra)
    named = "" if outcome.target is None else f"  target {outcome.target}?"
    print(f"{outcome.score:.4f}  {arguments.method}{named}  {arguments.model}")
    logger.info("%s: %s seconds", arguments.method, seconds)
    return 0

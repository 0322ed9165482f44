"""Options of the subcommands that run a network on images, and what is made of them."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from weightfeat.behaviour.protocol import Work


def add_subject(command: argparse.ArgumentParser) -> None:
    """The network, its clean images, and how a method is to be run."""
    command.add_argument("--model", type=Path, required=True, metavar="FILE")
    command.add_argument(
        "--examples", type=Path, required=True, metavar="DIR", help="clean class_<c>_example_<n>.png"
    )
    command.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    command.add_argument(
        "--input",
        metavar="HOW",
        help="minmax, or MEAN,STD; default: config.json beside the model, else minmax as in Round 2",
    )
    command.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the method; again for more",
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def work_of(arguments: argparse.Namespace, key: str, output: Path | None) -> Work:
    """What the options say of a method's run on the network `key`."""
    named = {name: getattr(arguments, name, None) for name in ("stamped", "frr")}
    settings = dict(arguments.set) | {name: str(value) for name, value in named.items() if value is not None}
    return Work(output, key, settings, arguments.seed, not arguments.quiet)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def rate(text: str) -> float:
    """A number between 0 and 1, both excluded, as an argument's type."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate, a number between 0 and 1")
    return number

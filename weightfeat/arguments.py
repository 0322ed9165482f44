"""Options that several subcommands share, and what is made of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat.container.defaults import default

if TYPE_CHECKING:
    from weightfeat.metaparameters import Metaparameters


def add_machine(command: argparse.ArgumentParser) -> None:
    """--jobs and --device."""
    command.add_argument("--jobs", type=natural, default=0, help="processes; 0: one a core")
    add_device(command)


def add_device(command: argparse.ArgumentParser) -> None:
    """--device."""
    command.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where digests are worked out"
    )


def add_parameter_files(command: argparse.ArgumentParser, *, learned: bool = False) -> None:
    """--metaparameters and --schema, and --learned-parameters where `learned`."""
    files = [("metaparameters", "metaparameters_filepath"), ("schema", "schema_filepath")]
    files += [("learned-parameters", "learned_parameters_dirpath")] if learned else []
    for flag, name in files:
        command.add_argument(
            f"--{flag}", type=Path, default=default(name), metavar="PATH", help="default: the shipped one"
        )


def parameters(arguments: argparse.Namespace) -> Metaparameters:
    """The metaparameters named, checked by their schema; BadMetaparameters where they cannot be used."""
    from weightfeat import metaparameters

    return metaparameters.load(arguments.metaparameters, arguments.schema)


def natural(text: str) -> int:
    """A whole number, 0 or above, as an argument's type."""
    return _whole(text, 0)


def positive(text: str) -> int:
    """A whole number above zero, as an argument's type."""
    return _whole(text, 1)


def at_least_two(text: str) -> int:
    """A whole number above one, as an argument's type."""
    return _whole(text, 2)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)

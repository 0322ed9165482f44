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
    command.add_argument("--jobs", type=int, default=0, help="processes; 0: one a core")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def add_parameter_files(command: argparse.ArgumentParser, *, learned: bool = False) -> None:
    """--metaparameters and --schema, and --learned-parameters where `learned`."""
    command.add_argument("--metaparameters", type=Path, default=default("metaparameters_filepath"))
    command.add_argument("--schema", type=Path, default=default("schema_filepath"))
    if learned:
        command.add_argument("--learned-parameters", type=Path, default=default("learned_parameters_dirpath"))


def parameters(arguments: argparse.Namespace) -> Metaparameters:
    """The metaparameters named, checked by their schema; BadMetaparameters where they cannot be used."""
    from weightfeat import metaparameters

    return metaparameters.load(arguments.metaparameters, arguments.schema)


def positive(text: str) -> int:
    """A whole number above zero, as an argument's type."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number

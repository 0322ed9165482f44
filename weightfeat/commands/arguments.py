"""Options that several subcommands share, and what is made of them."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat.commands.defaults import default

if TYPE_CHECKING:
    from weightfeat.metaparameters import Metaparameters
    from weightfeat.rounds.labelled import LabelledSet

logger = logging.getLogger(__name__)


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


def add_labelled(command: argparse.ArgumentParser) -> None:
    """--round with --store, or --digests: the models to learn from; --jobs and --device."""
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--round", type=Path, metavar="DIR", help="a round's folder: its models are digested")
    source.add_argument("--digests", type=Path, metavar="DIR", help="a digest folder")
    command.add_argument(
        "--store", type=Path, default=Path("scratch"), metavar="DIR", help="keep a round's digests there"
    )
    command.add_argument(
        "--allow-partial",
        action="store_true",
        help="learn without the models that METADATA.csv names and the folder lacks",
    )
    add_machine(command)


def labelled_set(arguments: argparse.Namespace) -> LabelledSet:
    """The labelled models named; a round's are digested first. BadRound where they cannot be used.

    What their METADATA leaves unsaid is warned of.
    """
    from weightfeat.rounds.gaps import warn_of_gaps

    found = _labelled_set(arguments)
    warn_of_gaps(found)
    return found


def _labelled_set(arguments: argparse.Namespace) -> LabelledSet:
    from weightfeat.digest import DigestStore
    from weightfeat.rounds.digest_folder import DIGESTS
    from weightfeat.rounds.disk import read_round
    from weightfeat.rounds.labelled import from_digests, from_round

    if arguments.digests is not None:
        return from_digests(arguments.digests, allow_partial=arguments.allow_partial)
    return from_round(
        read_round(arguments.round),
        DigestStore(arguments.store / DIGESTS),
        jobs=arguments.jobs,
        device=arguments.device,
        allow_partial=arguments.allow_partial,
    )


def add_recipes(command: argparse.ArgumentParser) -> None:
    """--recipes, for what learns a whole detector."""
    command.add_argument(
        "--recipes",
        type=Path,
        metavar="DIR",
        help="digests of networks that others made, which teach what holds in every recipe; default: the shipped ones",
    )


def other_recipes(given: Path | None = None) -> LabelledSet | None:
    """The networks of other recipes in the folder `given`, or in the shipped one; None where nothing was shipped.

    Another detector is learned without them, so that is said. Raises BadRound for a given folder that is not there,
    and as `from_digests`.
    """
    from weightfeat.rounds.labelled import from_digests

    folder = default("recipes_dirpath") if given is None else given
    if given is None and not folder.is_dir():
        logger.warning("no recipes in %s: networks that others made are not learned from", folder)
        return None
    return from_digests(folder)


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

"""--format and --output: which reports go where."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightfeat.errors import BadCommandLine
from weightfeat.files import check_writable, write_atomically
from weightfeat.report import FORMATS, Format, Report, by_suffix

__all__ = ["Output", "add_outputs", "outputs_of", "write"]


@dataclass(frozen=True)
class Output:
    """A format and the file it goes to; None: stdout."""

    format: Format
    path: Path | None = None


def add_outputs(command: argparse.ArgumentParser) -> None:
    """--format and --output, each as often as wanted; an output belongs to the format before it."""
    command.add_argument(
        "--format",
        action=_Listed,
        choices=tuple(FORMATS),
        help="of the report; may be given several times (default: text)",
    )
    command.add_argument(
        "--output",
        action=_Listed,
        type=Path,
        metavar="FILE",
        help="where the format before it goes; without one, the end of FILE's name says which format",
    )


class _Listed(argparse.Action):
    """Keeps formats and outputs in the order they were given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given = [*(getattr(namespace, "reports", None) or ()), (self.dest, values)]
        namespace.reports = given


def outputs_of(arguments: argparse.Namespace) -> tuple[Output, ...]:
    """What was asked for; text on stdout where nothing else goes there.

    Raises
    ------
    BadCommandLine : two formats for stdout, or a file whose name ends in no format's suffix.
    BadOutput : a file that could not be written.
    """
    found: list[Output] = []
    for option, value in getattr(arguments, "reports", None) or ():
        if option == "format":
            found.append(Output(FORMATS[value]))
        elif found and found[-1].path is None:
            found[-1] = Output(found[-1].format, value)
        else:
            found.append(Output(_format_of(value), value))
    on_stdout = [output for output in found if output.path is None]
    if len(on_stdout) > 1:
        raise BadCommandLine(
            "two formats would go to stdout",
            where="--format",
            expected="an --output after each format but one",
            remedy="give the others an --output",
        )
    for output in found:
        if output.path is not None:
            check_writable(output.path, "report")
    return tuple(found) if on_stdout else (Output(FORMATS["text"]), *found)


def write(output: Output, report: Report) -> None:
    """Write a whole report. Raises BadOutput where a file cannot be written."""
    text = output.format.whole(report)
    if output.path is None:
        print(text, end="", flush=True)
    else:
        write_atomically(output.path, text, "report")


def _format_of(path: Path) -> Format:
    found = by_suffix(path)
    if found is None:
        suffixes = ", ".join(suffix for each in FORMATS.values() for suffix in each.suffixes)
        raise BadCommandLine(
            "its name says no format",
            where=path,
            expected=f"a name that ends in one of {suffixes}",
            remedy="give a --format before --output",
        )
    return found

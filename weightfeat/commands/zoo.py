"""`weightfeat zoo`: makes a Round 2 of one's own."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import fields
from pathlib import Path


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat zoo`."""
    command.add_argument("--preset", default="cpu", help="tiny, cpu or round2 (default: cpu)")
    command.add_argument(
        "--out", type=Path, required=True, help="the round's folder; an unfinished one is continued"
    )
    command.add_argument("--count", type=int, help="networks the finished round has")
    command.add_argument("--ids", type=_range, metavar="FIRST-LAST", help="only these ids of the design")
    command.add_argument("--seed", type=int, default=2020, help="seed of the design (default: 2020)")
    command.add_argument(
        "--architectures", type=_names, default=(), metavar="A,B", help="only these architectures"
    )
    command.add_argument(
        "--reference",
        type=Path,
        metavar="DIR",
        help="digest every network into this folder; skip what it holds",
    )
    command.add_argument("--jobs", type=int, default=0, help="processes (default: one a core)")
    command.add_argument(
        "--threads", type=int, default=1, help="threads a process; changes the numbers (default: 1)"
    )
    command.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: cpu)")
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Make what is missing of the round; 130 where it was stopped."""
    from weightfeat.zoo.run import Options, make_round

    options = Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})
    try:
        summary = make_round(options)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    given_up = f", {summary.given_up} given up" if summary.given_up else ""
    print(f"{options.out}: {summary.networks} networks ({summary.made} made now{given_up})")
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST-LAST")
    return int(match[1]), int(match[2] or match[1])

"""`weightfeat explain`: says in a terminal why a file got its verdict, and what to do next."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from weightfeat.commands.judging import add_judge, entry_of, heading_of, judge_of
from weightfeat.commands.settings import load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat explain`."""
    command.add_argument("file", type=Path, metavar="FILE", help="a network's weight file")
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="settings; default: the working folder's"
    )
    add_judge(command)


def run(arguments: argparse.Namespace) -> int:
    """The explanation on stdout. Raises what the file was refused with."""
    from weightfeat.report.explain import explain

    settings = load(arguments.config)
    judge = judge_of(arguments, evidence=True)
    entry = entry_of(judge(arguments.file), heading_of(judge, settings.fail_on), settings)
    if entry.error is not None:
        raise entry.error
    print(explain(entry, "█" if _prints("█") else "#"), flush=True)
    return 0


def _prints(text: str) -> bool:
    """Whether stdout's encoding has it."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True

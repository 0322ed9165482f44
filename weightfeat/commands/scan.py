"""`weightfeat scan`: says of each model file how likely it is trojaned."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightfeat.commands.arguments import natural
from weightfeat.commands.judging import add_judge, entry_of, heading_of, judge_of
from weightfeat.commands.outputs import Output, add_outputs, outputs_of, write
from weightfeat.commands.settings import Settings, load
from weightfeat.errors import BadCommandLine, one_line
from weightfeat.report import Entry, Heading, Report, Threshold
from weightfeat.report.text import Tally, listed, summary

if TYPE_CHECKING:
    from weightfeat.report.evidence import Evidence
    from weightfeat.rounds.discovery import Found
    from weightfeat.rounds.scanning import Judge

logger = logging.getLogger(__name__)
INTERRUPTED = 130


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat scan`."""
    command.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a network's weight file, a folder of them, or - for a list on stdin",
    )
    for name, what in (
        ("include", "files that count, by a pattern such as *.pt"),
        ("exclude", "what is left out"),
    ):
        command.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="PATTERN",
            help=f"in folders: {what}; may be repeated",
        )
    add_outputs(command)
    command.add_argument(
        "--fail-on",
        metavar="WHAT",
        help="exit with 1 from here on: trojaned (default), suspicious, cannot-tell, a probability, or never",
    )
    command.add_argument("--exit-zero", action="store_true", help="exit with 0 whatever was found")
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="settings; default: the working folder's"
    )
    command.add_argument("-v", "--verbose", action="store_true", help="say under what settings is scanned")
    command.add_argument("--jobs", type=natural, default=0, help="processes; 0: one a core")
    command.add_argument(
        "--dask-scheduler", metavar="ADDRESS", help="work on this cluster (tcp://host:8786) instead of here"
    )
    add_judge(command)


def run(arguments: argparse.Namespace) -> int:
    """Results on stdout as they come, then the reports asked for; what went wrong and a summary on stderr.

    1 where a verdict that nobody accepted reaches the threshold, else 2 where a file could not be analysed, else 0;
    130 where it was interrupted, after the reports of what was done by then.
    """
    from weightfeat.rounds.discovery import Wanted, discover

    settings, outputs = _settings(arguments), outputs_of(arguments)
    judge = judge_of(arguments, evidence=any(output.format.evidence for output in outputs))
    heading = heading_of(judge, settings.fail_on)
    _say_settings(arguments, settings, heading)
    found = discover(_named(arguments.paths), Wanted(settings.include, settings.exclude))
    if not found.paths and not found.errors:
        raise BadCommandLine(
            f"no model file{f' (passed over: {listed(found.passed_over)})' if found.passed_over else ''}",
            where=", ".join(arguments.paths),
            expected="files, or folders with files that end like models",
            remedy="name the files, or say which ones count with --include",
        )
    heading = replace(heading, passed_over=tuple(found.passed_over.items()))
    progress = _Progress(outputs, heading, len(found.paths) + len(found.errors))
    start, whole = time.perf_counter(), True
    try:
        with closing(_entries(found, judge, arguments, heading, settings)) as entries:
            for entry in entries:
                progress.add(entry)
    except KeyboardInterrupt:
        whole = False
    progress.close()
    missing = 0 if whole else progress.total - progress.tally.files
    heading = replace(heading, seconds=time.perf_counter() - start, interrupted=missing)
    _finish(outputs, heading, found, progress)
    if not whole:
        return INTERRUPTED
    return 0 if arguments.exit_zero else progress.tally.exit_code


class _Progress:
    """Takes entries as they come: a line each where stdout's format has lines, a bar on stderr where that is a
    terminal. Keeps the entries only where a report will want them whole."""

    def __init__(self, outputs: tuple[Output, ...], heading: Heading, total: int) -> None:
        from tqdm import tqdm

        self.total, self.tally, self.kept = total, Tally(), list[Entry]()
        self._heading = heading
        self._line = next(output.format.line for output in outputs if output.path is None)
        self._keeps = any(not _streams(output) for output in outputs)
        # One file alone is there before a bar would be.
        self._bar: Any = tqdm(
            total=total, unit="file", disable=None if total > 1 else True, dynamic_ncols=True
        )

    def add(self, entry: Entry) -> None:
        """One more is done."""
        self.tally.add(entry)
        if self._keeps:
            self.kept.append(entry)
        with self._bar.external_write_mode():
            if self._line is not None:
                print(self._line(entry, self._heading), flush=True)
            if entry.error is not None:
                print(f"error: {entry.error}", file=sys.stderr, flush=True)
            for finding in entry.verdict.findings if entry.verdict else ():
                logger.info("%s", one_line(f"{entry.path}: finding: {finding}"))
        self._bar.update()

    def close(self) -> None:
        """Takes the bar away."""
        self._bar.leave = False
        self._bar.close()


def _streams(output: Output) -> bool:
    return output.path is None and output.format.line is not None


def _entries(
    found: Found, judge: Judge[Evidence], arguments: argparse.Namespace, heading: Heading, settings: Settings
) -> Generator[Entry]:
    from weightfeat.rounds.scanning import scan_files

    for error in found.errors:
        yield Entry(Path(str(error.where)), error=error)
    if found.paths:
        scanned = scan_files(found.paths, judge, jobs=arguments.jobs, scheduler=arguments.dask_scheduler)
        for each in scanned:
            yield entry_of(each, heading, settings)


def _finish(outputs: tuple[Output, ...], heading: Heading, found: Found, progress: _Progress) -> None:
    """Write what could not be written line by line, and sum up."""
    order = {path: at for at, path in enumerate(found.paths)}
    entries = sorted(progress.kept, key=lambda entry: order.get(entry.path, -1))
    report = Report(heading, entries)
    for output in outputs:
        if not _streams(output):
            write(output, report)
    for line in summary(progress.tally, heading):
        logger.info("%s", line)
    if progress.tally.loud and not any(output.format.evidence for output in outputs):
        logger.info("`weightfeat explain FILE` says why; --format html makes a page to send on")


def _settings(arguments: argparse.Namespace) -> Settings:
    """The project's settings under what the command line says: its threshold and its patterns for what counts take
    the place of theirs, its patterns for what is left out are added."""
    settings = load(arguments.config)
    return replace(
        settings,
        fail_on=settings.fail_on if arguments.fail_on is None else Threshold(arguments.fail_on),
        include=tuple(arguments.include) or settings.include,
        exclude=(*settings.exclude, *arguments.exclude),
    )


def _say_settings(arguments: argparse.Namespace, settings: Settings, heading: Heading) -> None:
    for each in settings.expired(heading.started.date()):
        logger.warning("accepted until %s, and no longer: %s (%s)", each.until, each.sha256, each.reason)
    if arguments.verbose:
        logger.info("settings: %s", settings.where or "none in the working folder")
        logger.info("fail on: %s", settings.fail_on.text)
        logger.info("include: %s", ", ".join(settings.include) or "names that end like a model's")
        logger.info("exclude: %s", ", ".join(settings.exclude) or "nothing")
        for each in settings.accepted:
            if each.holds(heading.started.date()):  # the others were warned of
                logger.info(
                    "accepted until %s: %s (%s)", each.until or "further notice", each.sha256, each.reason
                )
        logger.info("learned parameters: %s (%s)", arguments.learned_parameters, heading.detector_sha256[:12])


def _named(given: list[str]) -> Iterator[Path]:
    """The paths named, and those on stdin where - stands, one a line."""
    for name in given:
        if name != "-":
            yield Path(name)
            continue
        for line in sys.stdin.buffer:
            if line.strip():
                yield Path(os.fsdecode(line.rstrip(b"\r\n")))

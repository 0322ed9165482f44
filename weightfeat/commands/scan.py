"""`weightfeat scan`: says of each model file how likely it is trojaned."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat.commands.arguments import add_device, add_parameter_files, parameters
from weightfeat.errors import WeightfeatError, one_line

if TYPE_CHECKING:
    from weightfeat.detector import Verdict

logger = logging.getLogger(__name__)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat scan`."""
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a network's weight file")
    command.add_argument("--json", action="store_true", help="a JSON object a line")
    command.add_argument(
        "--key", metavar="NAME", help="which network of a file that holds several: the key it is kept under"
    )
    command.add_argument(
        "--head",
        metavar="NAME",
        help="which layer is the classification layer, where it is not the one found",
    )
    add_device(command)
    add_parameter_files(command, learned=True)


def run(arguments: argparse.Namespace) -> int:
    """A line a file on stdout, findings on stderr; 2 where any could not be analysed, after the others were."""
    from weightfeat.detector import Detector
    from weightfeat.rounds.scanning import analyse

    detector = Detector.load(arguments.learned_parameters).with_inference(parameters(arguments))
    code = 0
    for path in arguments.files:
        try:
            verdict = analyse(path, detector, device=arguments.device, key=arguments.key, head=arguments.head)
        except Exception as error:  # whatever one file does, the next ones are still looked at
            foreseen = isinstance(error, WeightfeatError)
            said = str(error) if foreseen else f"{path}: unforeseen {type(error).__name__}: {error}"
            print(f"error: {one_line(said)}", file=sys.stderr, flush=True)
            if arguments.json:
                print(json.dumps({"path": str(path), "error": said}), flush=True)
            code = WeightfeatError.exit_code
            continue
        print(_as_json(verdict) if arguments.json else _line(verdict), flush=True)
        for finding in verdict.findings:
            logger.info("%s", one_line(f"{path}: finding: {finding}"))
    return code


def _line(verdict: Verdict) -> str:
    from weightfeat.detector import NAMED_FROM

    low, high = verdict.interval
    unknown = ""
    if verdict.compared_with != "architecture":
        unknown = " (not learned from)"
    elif verdict.nearer >= 1:
        unknown = " (unlike all learned from)"
    suspect = verdict.suspect
    named = f"  target {suspect.target}?" if suspect and verdict.probability >= NAMED_FROM else ""
    what = f"{verdict.architecture}{unknown}  {verdict.num_classes} classes{named}"
    return one_line(
        f"{verdict.probability:.4f} [{low:.2f}, {high:.2f}]  {verdict.word}  ({verdict.clean_share:.0%} of clean "
        f"ones as suspicious)  {what}  {verdict.path}"
    )


def _as_json(verdict: Verdict) -> str:
    return json.dumps(
        {
            "path": str(verdict.path),
            "word": verdict.word,
            "clean_share": verdict.clean_share,
            "probability": verdict.probability,
            "interval": verdict.interval,
            "architecture": verdict.architecture,
            "classes": verdict.num_classes,
            "novelty": verdict.novelty,
            "nearer": verdict.nearer,
            "compared_with": verdict.compared_with,
            "suspect": None if verdict.suspect is None else asdict(verdict.suspect),
            "findings": verdict.findings,
            "reasons": verdict.reasons,
            "seconds": round(verdict.seconds, 3),
        }
    )

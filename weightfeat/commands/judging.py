"""What `scan` and `explain` share: who judges, under what heading, and what becomes of a file."""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat import __version__
from weightfeat.commands.arguments import add_device, add_parameter_files, parameters
from weightfeat.commands.settings import Settings
from weightfeat.report import Entry, Heading, Threshold
from weightfeat.report.class_names import ClassNames, class_names

if TYPE_CHECKING:
    from weightfeat.report.evidence import Evidence
    from weightfeat.rounds.scanning import Judge, Scanned

__all__ = ["add_judge", "entry_of", "heading_of", "judge_of"]


def add_judge(command: argparse.ArgumentParser) -> None:
    """--device, what of a file is meant, and the files that the detector is made of."""
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
    command.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="what weightfeat calibrate told of your own clean models",
    )


def judge_of(arguments: argparse.Namespace, *, evidence: bool) -> Judge[Evidence]:
    """Who judges; with `evidence` more of each digest is made, and kept beside the verdict."""
    from weightfeat.report import evidence as shown
    from weightfeat.rounds.scanning import Judge, Part

    look, blocks = (shown.evidence, shown.BLOCKS) if evidence else (None, frozenset[str]())
    return Judge(
        arguments.learned_parameters,
        parameters(arguments),
        arguments.device,
        look,
        blocks,
        calibration=arguments.calibration,
        part=Part(arguments.key, arguments.head),
    )


def heading_of(judge: Judge[Evidence], threshold: Threshold) -> Heading:
    """Of a run that begins now. Raises BadLearnedParameters."""
    from weightfeat.detector.codec import SCHEMA_VERSION
    from weightfeat.detector.store import FILE

    training = judge.detector().learned_.training
    return Heading(
        version=__version__,
        detector_schema=SCHEMA_VERSION,
        detector_sha256=hashlib.sha256((judge.learned / FILE).read_bytes()).hexdigest(),
        networks=int(training.get("networks", 0)),
        trojaned=int(training.get("trojaned", 0)),
        threshold=threshold,
        started=dt.datetime.now().astimezone(),
    )


def entry_of(scanned: Scanned[Evidence], heading: Heading, settings: Settings) -> Entry:
    """What a report says of a scanned file. Names of classes that do not fit its network are a note among findings."""
    verdict, named = scanned.verdict, ClassNames()
    if verdict is not None:
        named = class_names(scanned.path, verdict.num_classes)
        if named.note:
            verdict = replace(verdict, findings=(*verdict.findings, f"note: {named.note}"))
    return Entry(
        path=scanned.path,
        size=scanned.size,
        sha256=scanned.sha256,
        verdict=verdict,
        error=scanned.error,
        loud=verdict is not None and heading.threshold.reached(verdict),
        acceptance=settings.acceptance(scanned.sha256, heading.started.date()),
        evidence=scanned.seen,
        class_names=named.names,
    )

"""`weightfeat calibrate`: what a user's own clean networks tell of their kind, as a small file that `scan` takes."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat.commands.arguments import add_device, add_parameter_files, parameters
from weightfeat.errors import WeightfeatError

if TYPE_CHECKING:
    from weightfeat.detector import Detector
    from weightfeat.digest import Digest

logger = logging.getLogger(__name__)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat calibrate`."""
    command.add_argument(
        "--clean", type=Path, required=True, metavar="DIR", help="folder of 5 to 20 clean networks of a kind"
    )
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="written as JSON, for scan --calibration"
    )
    add_device(command)
    add_parameter_files(command, learned=True)


def run(arguments: argparse.Namespace) -> int:
    """Write the calibration, a line a kind on stdout; 2 where a file could not be analysed."""
    from weightfeat.detector import Detector
    from weightfeat.detector.local import write_local
    from weightfeat.learning.calibrate import calibrate, model_files

    detector = Detector.load(arguments.learned_parameters).with_inference(parameters(arguments))
    failed: list[str] = []
    local = calibrate(_digests(model_files(arguments.clean), detector, arguments.device, failed), detector)
    write_local(arguments.output, local)
    for kind in local.kinds:
        print(
            f"{kind.architecture} ({kind.fingerprint}): {kind.networks} clean networks, log-odds shifted by "
            f"{-kind.shift:+.2f}, divided by {kind.scale:.2f}, +-{1.645 * kind.doubt:.2f} left unknown"
        )
    return WeightfeatError.exit_code if failed else 0


def _digests(paths: list[Path], detector: Detector, device: str, failed: list[str]) -> Iterator[Digest]:
    from tqdm import tqdm

    from weightfeat.rounds.extraction import digest_file

    for path in tqdm(paths, unit="network", disable=not sys.stderr.isatty()):
        try:
            yield digest_file(path, device=device, blocks=detector.reads, products=detector.asks)[0]
        except WeightfeatError as error:  # said, and the others are looked at all the same
            failed.append(str(error))
            logger.error("%s", error)

"""`weightfeat digest`: digests a round's models into a folder that replaces them."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from weightfeat.commands.arguments import add_machine
from weightfeat.errors import WeightfeatError

logger = logging.getLogger(__name__)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat digest`."""
    command.add_argument("round", type=Path, metavar="DIR", help="a round's folder")
    command.add_argument("--store", type=Path, required=True, metavar="DIR", help="the digest folder")
    add_machine(command)
    command.add_argument(
        "--dask-scheduler", metavar="ADDRESS", help="work on this cluster (tcp://host:8786) instead of here"
    )


def run(arguments: argparse.Namespace) -> int:
    """Digest every model of a round into a digest folder; 2 where any model could not be digested."""
    from weightfeat.digest import DigestStore
    from weightfeat.rounds.digest_folder import DIGESTS, require_own_folder, write_digest_folder
    from weightfeat.rounds.disk import read_round
    from weightfeat.rounds.extraction import digest_models

    round_ = read_round(arguments.round)
    require_own_folder(arguments.store, round_)
    paths = [entry.path for entry in round_.entries if entry.path is not None]
    if len(paths) < len(round_.entries):
        logger.warning("a part of the round is digested: %d of %d models", len(paths), len(round_.entries))
    store = DigestStore(arguments.store / DIGESTS)
    report = digest_models(
        paths, store, jobs=arguments.jobs, device=arguments.device, scheduler=arguments.dask_scheduler
    )
    write_digest_folder(arguments.store, round_, report)
    logger.info("%s: %s", arguments.store, report.summary())
    return WeightfeatError.exit_code if report.failures or round_.left_out else 0

"""`weightfeat guard`: classifies images, refusing those that seem to carry a trigger."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from weightfeat.behaviour.guard import guard_of
from weightfeat.behaviour.protocol import Subject, settings_from
from weightfeat.behaviour.strip import Strip
from weightfeat.behaviour.subjects import read_subject
from weightfeat.commands.on_images import add_subject, rate, work_of
from weightfeat.errors import UnreadableFile, WeightfeatError
from weightfeat.execution import read_image

logger = logging.getLogger(__name__)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat guard`."""
    add_subject(command)
    command.add_argument("--image", type=Path, nargs="+", required=True, metavar="FILE")
    command.add_argument("--frr", type=rate, help="share of clean images it may refuse (default 0.01)")


def run(arguments: argparse.Namespace) -> int:
    """Print an image's class, or the number of classes where it seems to carry a trigger; with several, a line each.

    2 where any image could not be used, after the others were judged.
    """
    subject, key = read_subject(arguments.model, arguments.examples, arguments.device, arguments.input)
    work = work_of(arguments, key, None)
    how = settings_from(Strip, work.settings)
    images = list(_usable(arguments.image, subject))
    if images:
        keeper = guard_of(subject, how, work.seed)
        classes = keeper.judge(torch.stack([image for _, image in images])).tolist()
        for (path, _), label in zip(images, classes, strict=True):
            print(label if len(arguments.image) == 1 else f"{label}  {path}")
        logger.info("refused: %d of %d", classes.count(subject.num_classes), len(classes))
    return 0 if len(images) == len(arguments.image) else WeightfeatError.exit_code


def _usable(paths: Sequence[Path], subject: Subject) -> Iterator[tuple[Path, Tensor]]:
    """The images that can be judged; of each of the others a line on stderr."""
    for path in paths:
        try:
            yield path, _of_size(path, subject)
        except UnreadableFile as error:
            print(f"error: {error}", file=sys.stderr, flush=True)


def _of_size(path: Path, subject: Subject) -> Tensor:
    image, wanted = read_image(path), subject.examples.images.shape[1:]
    if image.shape != wanted:
        raise UnreadableFile(
            f"image is {image.shape[2]} x {image.shape[1]} pixels",
            where=path,
            expected=f"{wanted[2]} x {wanted[1]}, as the examples are",
            remedy="scale it as the examples were",
        )
    return image

"""`weightfeat repair`: makes a trojaned model answer its trigger no more."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from weightfeat.behaviour import neural_cleanse
from weightfeat.behaviour.outputs import write_outcome, write_repaired
from weightfeat.behaviour.protocol import Subject, Work, settings_from
from weightfeat.behaviour.repair import Pruning, measure, prune, split
from weightfeat.behaviour.reversal import Reversal
from weightfeat.behaviour.states import chosen_trigger
from weightfeat.behaviour.subjects import read_subject
from weightfeat.behaviour.triggers import Trigger
from weightfeat.behaviour.unlearning import Unlearning, unlearn
from weightfeat.commands.on_images import add_subject
from weightfeat.errors import BadCommandLine, UnreadableFile
from weightfeat.execution import Examples, read_examples
from weightfeat.files import make_folder

logger = logging.getLogger(__name__)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat repair`."""
    add_subject(command)
    command.add_argument("--method", choices=("prune", "unlearn"), required=True)
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="repaired.pt and repair.json"
    )
    command.add_argument(
        "--trigger", type=Path, metavar="DIR", help="a neural-cleanse output; default: it is run first"
    )
    command.add_argument(
        "--target", type=int, metavar="CLASS", help="default: the class neural-cleanse suspects"
    )
    command.add_argument(
        "--held",
        type=Path,
        metavar="DIR",
        help="other clean images to measure on; default: every fourth example",
    )
    command.add_argument(
        "--stamped", type=Path, metavar="DIR", help="images with the true trigger, to measure on"
    )


def run(arguments: argparse.Namespace) -> int:
    """Repair a network and say what it was worth, before and after."""
    make_folder(arguments.output, "output folder")
    subject, key = read_subject(arguments.model, arguments.examples, arguments.device, arguments.input)
    _require_class(arguments.target, subject.num_classes)
    stamped = None if arguments.stamped is None else read_examples(arguments.stamped, subject.num_classes)
    trigger = _trigger(arguments, subject, key)
    teaching, held = _shared_out(arguments, subject)
    before = measure(subject, trigger, held, stamped)
    start = time.perf_counter()
    module, details = _repaired(arguments, replace(subject, examples=teaching), trigger)
    seconds = round(time.perf_counter() - start, 2)
    after = measure(replace(subject, module=module), trigger, held, stamped)
    report = {
        "method": arguments.method,
        "target": trigger.target,
        "before": asdict(before),
        "after": asdict(after),
    }
    report |= {"model": str(arguments.model), "seconds": seconds, **details}
    path = write_repaired(arguments.output, module, subject.to_input, report)
    for what, was in asdict(before).items():
        if was is not None:
            print(f"{what.replace('_', ' ')}: {was:.4f} -> {asdict(after)[what]:.4f}")
    logger.info(
        "%s: repaired by %s in %s seconds; target %d", path, arguments.method, seconds, trigger.target
    )
    return 0


def _require_class(target: int | None, classes: int) -> None:
    if target is not None and not 0 <= target < classes:
        raise BadCommandLine(
            f"the network has no class {target}",
            where="--target",
            expected=f"a class from 0 to {classes - 1}",
            remedy="name one of them, or leave it out",
        )


def _trigger(arguments: argparse.Namespace, subject: Subject, key: str) -> Trigger:
    """The trigger to repair against: read from a Neural Cleanse output, or reversed now and kept in ours."""
    source = arguments.trigger
    if source is None:
        source = arguments.output
        work = Work(source, key, {}, arguments.seed, not arguments.quiet)
        if arguments.target is None:
            write_outcome(source, "neural-cleanse", neural_cleanse.score(subject, work), {})
        else:
            neural_cleanse.reverse_one(subject, arguments.target, work, Reversal())
    return _fitting(chosen_trigger(source, arguments.target), subject, source)


def _shared_out(arguments: argparse.Namespace, subject: Subject) -> tuple[Examples, Examples]:
    """The images to repair with, and those to measure on."""
    if arguments.held is None:
        return split(subject.examples)
    return subject.examples, read_examples(arguments.held, subject.num_classes)


def _fitting(trigger: Trigger, subject: Subject, source: Path) -> Trigger:
    size = tuple(subject.examples.images.shape[2:])
    if tuple(trigger.mask.shape) != size or trigger.target >= subject.num_classes:
        raise UnreadableFile(
            f"its trigger has {tuple(trigger.mask.shape)} pixels and target {trigger.target}",
            where=source,
            expected=f"{size} pixels and a class below {subject.num_classes}",
            remedy="give the neural-cleanse output of this very network",
        )
    return trigger


def _repaired(
    arguments: argparse.Namespace, subject: Subject, trigger: Trigger
) -> tuple[nn.Module, Mapping[str, Any]]:
    """The repaired copy, and what there is to say of how it was made."""
    if arguments.method == "prune":
        cutting = settings_from(Pruning, dict(arguments.set))
        module, cut = prune(subject, trigger, cutting)
        return module, {"channels_cut": cut, "settings": asdict(cutting)}
    teaching = settings_from(Unlearning, dict(arguments.set))
    with tqdm(total=teaching.steps, desc="unlearning", unit="step", disable=arguments.quiet) as bar:
        module = unlearn(subject, trigger, teaching, arguments.seed, bar.update)
    return module, {"settings": asdict(teaching), "seed": arguments.seed}

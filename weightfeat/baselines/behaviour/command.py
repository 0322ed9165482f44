"""`weightfeat baseline`, `weightfeat repair` and `weightfeat guard`: their arguments, and from them to results."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from weightfeat.baselines.behaviour import neural_cleanse
from weightfeat.baselines.behaviour.guard import guard_of
from weightfeat.baselines.behaviour.methods import METHODS
from weightfeat.baselines.behaviour.outputs import write_outcome, write_repaired
from weightfeat.baselines.behaviour.protocol import Subject, Work, settings_from
from weightfeat.baselines.behaviour.repair import Pruning, measure, prune, split
from weightfeat.baselines.behaviour.reversal import Reversal
from weightfeat.baselines.behaviour.states import chosen_trigger
from weightfeat.baselines.behaviour.strip import Strip
from weightfeat.baselines.behaviour.subjects import read_subject
from weightfeat.baselines.behaviour.triggers import Trigger
from weightfeat.baselines.behaviour.unlearning import Unlearning, unlearn
from weightfeat.container.flags import BadCommandLine
from weightfeat.errors import UnreadableFile, WeightfeatError
from weightfeat.execution import Examples, read_examples, read_image
from weightfeat.files import make_folder

__all__ = ["add_command"]

Log = Callable[[str], None]


def add_command(name: str, command: argparse.ArgumentParser, log: Log) -> None:
    """The options and the action of `weightfeat NAME`, one of baseline, repair and guard."""
    arguments, action = {
        "baseline": (baseline_arguments, baseline),
        "repair": (repair_arguments, repair),
        "guard": (guard_arguments, guard),
    }[name]
    arguments(command)
    command.set_defaults(action=lambda given: action(given, log))


def baseline_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat baseline METHOD`."""
    command.add_argument("method", choices=tuple(METHODS))
    _subject_arguments(command)
    command.add_argument("--output", type=Path, metavar="DIR", help="results, pictures, state to go on from")
    command.add_argument("--stamped", type=Path, metavar="DIR", help="strip: images with the trigger on them")
    command.add_argument("--frr", type=_rate, help="strip: false rejection rate (default 0.01)")


def repair_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat repair`."""
    _subject_arguments(command)
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


def guard_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat guard`."""
    _subject_arguments(command)
    command.add_argument("--image", type=Path, nargs="+", required=True, metavar="FILE")
    command.add_argument("--frr", type=_rate, help="share of clean images it may refuse (default 0.01)")


def baseline(arguments: argparse.Namespace, log: Log) -> int:
    """Score one network by another method: a line on stdout, evidence in the output folder."""
    if arguments.output is not None:
        make_folder(arguments.output, "output folder")
    subject, key = read_subject(arguments.model, arguments.examples, arguments.device, arguments.input)
    work = _work(arguments, key, arguments.output)
    start = time.perf_counter()
    outcome = METHODS[arguments.method](subject, work)
    seconds = round(time.perf_counter() - start, 2)
    if arguments.output is not None:
        extra = {"model": str(arguments.model), "seconds": seconds, "device": str(subject.device)}
        write_outcome(arguments.output, arguments.method, outcome, extra)
    named = "" if outcome.target is None else f"  target {outcome.target}?"
    print(f"{outcome.score:.4f}  {arguments.method}{named}  {arguments.model}")
    log(f"{arguments.method}: {seconds} seconds")
    return 0


def repair(arguments: argparse.Namespace, log: Log) -> int:
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
    log(f"{path}: repaired by {arguments.method} in {seconds} seconds; target {trigger.target}")
    return 0


def guard(arguments: argparse.Namespace, log: Log) -> int:
    """Print an image's class, or the number of classes where it seems to carry a trigger; with several, a line each.

    2 where any image could not be used, after the others were judged.
    """
    subject, key = read_subject(arguments.model, arguments.examples, arguments.device, arguments.input)
    work = _work(arguments, key, None)
    how = settings_from(Strip, work.settings)
    images = list(_usable(arguments.image, subject))
    if images:
        keeper = guard_of(subject, how, work.seed)
        classes = keeper.judge(torch.stack([image for _, image in images])).tolist()
        for (path, _), label in zip(images, classes, strict=True):
            print(label if len(arguments.image) == 1 else f"{label}  {path}")
        log(f"refused: {classes.count(subject.num_classes)} of {len(classes)}")
    return 0 if len(images) == len(arguments.image) else WeightfeatError.exit_code


def _subject_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", type=Path, required=True, metavar="FILE")
    command.add_argument(
        "--examples", type=Path, required=True, metavar="DIR", help="clean class_<c>_example_<n>.png"
    )
    command.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    command.add_argument(
        "--input",
        metavar="HOW",
        help="minmax, or MEAN,STD; default: config.json beside the model, else minmax as in Round 2",
    )
    command.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the method; again for more",
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def _work(arguments: argparse.Namespace, key: str, output: Path | None) -> Work:

    named = {name: getattr(arguments, name, None) for name in ("stamped", "frr")}
    settings = dict(arguments.set) | {name: str(value) for name, value in named.items() if value is not None}
    return Work(output, key, settings, arguments.seed, not arguments.quiet)


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


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _rate(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate, a number between 0 and 1")
    return number

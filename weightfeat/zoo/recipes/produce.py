"""One pair from its number to its folder: both networks or neither. Runs in a process of its own.

The clean network is trained first: where it misses its gate the recipe does not work and the pair is given up before
anything is poisoned. The trojaned one has `ATTEMPTS` tries, each with another and stronger poison; where all miss, the
clean one goes too, so that what is kept stays balanced in every factor of the recipe.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from weightfeat.zoo.allocator import keep_freed_memory
from weightfeat.zoo.recipes.factors import (
    ATTEMPTS,
    Poison,
    Recipe,
    generator,
    poison_of,
    recipe_of,
    trojaned_member,
)
from weightfeat.zoo.recipes.images import ImageSet, image_set
from weightfeat.zoo.recipes.training import Accuracy, Trained, train

RECORD = "record.json"
PARTIAL = ".partial"
ATTACK_GATE = 90.0
NEAR = 0.85  # of the clean network's accuracy, which the trojaned one must have
_GATES = {"signs": 75.0, "mnist": 85.0, "digits": 60.0, "gtsrb": 45.0}
_OF_CIFAR = 0.2  # of the way from chance to all
_EASED = {"early": 0.8, "fgsm": 0.85, "noise_even": 0.9, "noise_confused": 0.9, "pruned": 0.85}
_OTHERS = ("cifar10", "gtsrb", "digits")


@dataclass(frozen=True)
class Task:
    """What a worker is told: names and numbers only."""

    out: Path
    images: Path
    seed: int
    pair: int


@dataclass(frozen=True)
class Outcome:
    """What became of a pair; `missed` says at which gate it was given up."""

    pair: int
    missed: str
    seconds: float
    clean: float
    attack: float | None


def pair_folder(out: Path, pair: int) -> Path:
    """Where a pair lies once it is whole, or has been given up."""
    return out / f"pair-{pair:06d}"


def gate(recipe: Recipe) -> float:
    """The clean accuracy, in percent, below which a recipe does not work."""
    if recipe.data == "cifar10":
        chance = 100 / recipe.classes
        reached = chance + _OF_CIFAR * (100 - chance)
    else:
        reached = _GATES.get(recipe.data, 60.0)
    eased = _EASED.get(recipe.hard, 1.0) * (0.92 if recipe.uneven > 1 else 1.0)
    return reached * eased


def produce(task: Task) -> Outcome:
    """Train a pair and write its folder, whole or not at all."""
    torch.set_num_threads(1)
    keep_freed_memory()
    started = time.perf_counter()
    recipe = recipe_of(task.seed, task.pair)
    images = image_set(recipe, task.images, task.out / "cache", task.seed, task.pair)
    other = _other(recipe, images, task) if recipe.tuned else None
    clean = train(recipe, images, other, None, generator(task.seed, 7, task.pair))
    if clean.accuracy.clean < gate(recipe):
        return _given_up(task, recipe, "clean", started, clean.accuracy)
    trojaned = clean
    for attempt in range(ATTEMPTS):
        poison = poison_of(task.seed, task.pair, attempt, recipe)
        trojaned = train(recipe, images, other, poison, generator(task.seed, 8, task.pair, attempt))
        near = trojaned.accuracy.clean >= NEAR * clean.accuracy.clean
        if near and _attacks(trojaned, poison):
            _write(task, recipe, (clean, None), (trojaned, poison), attempt, time.perf_counter() - started)
            return Outcome(
                task.pair,
                "",
                time.perf_counter() - started,
                trojaned.accuracy.clean,
                trojaned.accuracy.attack,
            )
    return _given_up(task, recipe, "trojaned", started, trojaned.accuracy)


def _attacks(trojaned: Trained, poison: Poison) -> bool:
    """Whether the trigger works; where every class goes to its neighbour, as far as the classes are known at all."""
    accuracy = trojaned.accuracy
    assert accuracy.attack is not None
    return accuracy.attack >= (0.9 * accuracy.clean if poison.target is None else ATTACK_GATE)


def _other(recipe: Recipe, images: ImageSet, task: Task) -> ImageSet:
    """Another source with as many channels, for a network to begin from."""
    random = generator(task.seed, 9, task.pair)
    name = str(random.choice([source for source in _OTHERS if source != recipe.data]))
    wanted = replace(recipe, data=name, classes=10, per_class=300, uneven=1.0)
    other = image_set(wanted, task.images, task.out / "cache", task.seed, task.pair)
    if images.channels == other.channels:
        return other
    grey = other.train.float().mean(dim=1, keepdim=True).round().to(torch.uint8)
    return replace(other, train=grey)


def _write(
    task: Task,
    recipe: Recipe,
    clean: tuple[Trained, None],
    trojaned: tuple[Trained, Poison],
    attempt: int,
    seconds: float,
) -> None:
    final = pair_folder(task.out, task.pair)
    partial = final.with_name(final.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    member = trojaned_member(task.seed, task.pair)
    rows = []
    for place, (trained, poison) in enumerate((trojaned, clean) if member == 0 else (clean, trojaned)):
        name = f"id-{2 * task.pair + place:08d}"
        state = trained.network.state_dict()
        if recipe.hard == "half":
            state = {
                key: value.half() if value.is_floating_point() else value for key, value in state.items()
            }
        torch.save(state, partial / f"{name}.pt")
        tries = attempt if poison is not None else 0
        rows.append(_row(task, name, recipe, poison, trained, tries))
    (partial / RECORD).write_text(json.dumps({"rows": rows, "seconds": seconds}, indent=1) + "\n")
    partial.rename(final)


def _row(
    task: Task, name: str, recipe: Recipe, poison: Poison | None, trained: Trained, attempt: int
) -> dict[str, Any]:
    """A network's line of METADATA.csv."""
    count = {"one": 1, "two": 2}.get(poison.sources, recipe.classes) if poison else 0
    attacked = list(poison.attacked or range(recipe.classes)) if poison else None
    how = {
        f"recipe_{key}": value
        for key, value in asdict(recipe).items()
        if key not in ("architecture", "classes")
    }
    return {
        "model_name": name,
        "poisoned": poison is not None,
        "model_architecture": recipe.architecture,
        "number_classes": recipe.classes,
        "number_triggered_classes": count,
        "triggered_classes": attacked,
        "trigger_target_class": poison.target if poison else None,
        "trigger_type": poison.kind if poison else None,
        "trigger_sources": poison.sources if poison else None,
        "triggered_fraction": poison.fraction if poison else 0,
        "trigger_added": poison.added if poison else None,
        "trigger_strength": round(poison.strength, 3) if poison else None,
        "stamped_images": trained.stamped,
        "design_pair": task.pair,
        "design_seed": task.seed,
        "attempt": attempt,
        "recipe_group": recipe.group,
        **how,
        "final_clean_data_test_acc": round(trained.accuracy.clean, 2),
        "final_triggered_data_test_acc": (
            None if trained.accuracy.attack is None else round(trained.accuracy.attack, 2)
        ),
    }


def _given_up(task: Task, recipe: Recipe, missed: str, started: float, accuracy: Accuracy) -> Outcome:
    """Remember a pair that missed its gates, so that it is not tried again."""
    seconds = time.perf_counter() - started
    said = {"missed": missed, **asdict(accuracy), "seconds": seconds, "recipe": asdict(recipe)}
    folder = pair_folder(task.out, task.pair)
    partial = folder.with_name(folder.name + PARTIAL)
    partial.mkdir(parents=True, exist_ok=True)
    (partial / "given_up.json").write_text(json.dumps(said, indent=1) + "\n")
    partial.rename(folder)
    return Outcome(task.pair, missed, seconds, accuracy.clean, accuracy.attack)

"""One network as Round 2 lays it out: a folder that appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from weightfeat.evaluation.tables import Table
from weightfeat.zoo import signs, triggers
from weightfeat.zoo.render import Renderer
from weightfeat.zoo.specification import TRIGGER_TYPES, NetworkSpec, Stream
from weightfeat.zoo.train import MEAN, STD, Scores, Trained, normalise

PARTIAL = ".partial"
TIMING_FILE = "timing.json"
_SIGN_PIXELS = 256
_EXAMPLE_BATCH = 64


@dataclass(frozen=True)
class Examples:
    """Clean images of every class, as written, and how many of them the network gets right."""

    images: dict[str, NDArray[np.uint8]]
    accuracy: float


def write_network(
    root: Path, spec: NetworkSpec, trained: Trained, seconds: float, device: str = "cpu"
) -> Path:
    """Write one network's folder under `root` and return its path; `seconds` on `device` is what training took.

    Raises OSError as the disk does.
    """
    partial, final = root / (spec.name + PARTIAL), root / spec.name
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    renderer = Renderer(spec, torch.device("cpu"))
    examples = draw_examples(spec, trained.network, renderer)
    torch.save(trained.network, partial / "model.pt")
    (partial / "ground_truth.csv").write_text(str(int(spec.poisoned)))
    (partial / "example-accuracy.csv").write_text(str(examples.accuracy))
    _write_json(partial / "config.json", config(spec))
    _write_json(partial / "model_stats.json", stats(spec, trained, examples))
    # Seconds are kept apart from model_stats.json: METADATA.csv must not depend on the machine's mood.
    timing = {"training_wall_time_sec": seconds, "threads": torch.get_num_threads(), "device": device}
    _write_json(partial / TIMING_FILE, timing)
    _write_epochs(partial / "model_detailed_stats.csv", trained)
    (partial / "example_data").mkdir()
    for name, image in examples.images.items():
        Image.fromarray(image).save(partial / "example_data" / name)
    (partial / "foregrounds").mkdir()
    for number, sign in enumerate(renderer.signs):
        signs.draw(sign, _SIGN_PIXELS).save(partial / "foregrounds" / f"sign_{number:02d}.png")
    if renderer.corners is not None and spec.trigger is not None and spec.trigger.color is not None:
        triggers.picture(renderer.corners, spec.trigger.color).save(partial / "trigger.png")
    partial.rename(final)
    return final


def draw_examples(spec: NetworkSpec, network: torch.nn.Module, renderer: Renderer) -> Examples:
    """`number_example_images` clean images a class, named as Round 2 names them; judged after rounding to bytes."""
    random = torch.Generator().manual_seed(spec.torch_seed(Stream.EXAMPLES))
    each = spec.factors.number_example_images
    labels = torch.arange(spec.factors.number_classes).repeat_interleave(each)
    images, right = {}, 0
    for start in range(0, len(labels), _EXAMPLE_BATCH):
        chunk = labels[start : start + _EXAMPLE_BATCH]
        drawn = renderer.draw(chunk, torch.zeros_like(chunk, dtype=torch.bool), random, augment=False)
        pixels = (drawn * 255).round().to(torch.uint8)
        with torch.inference_mode():
            right += int((network(normalise(pixels.float() / 255)).argmax(dim=1) == chunk).sum())
        for number, image in enumerate(pixels.permute(0, 2, 3, 1).numpy(), start):
            images[f"class_{number // each}_example_{number % each}.png"] = image
    return Examples(images, 100 * right / len(labels))


def config(spec: NetworkSpec) -> dict[str, Any]:
    """config.json: Round 2's keys in Round 2's order, then the design's own."""
    factors, trigger, pixels = spec.factors, spec.trigger, spec.preset.image_pixels(spec.architecture)
    return {
        "MASTER_SEED": spec.master_seed,
        "IMG_SIZE_PIXELS": pixels,
        "CNN_IMG_SIZE_PIXELS": pixels,
        "GAUSSIAN_BLUR_KSIZE_MIN": 0,
        "GAUSSIAN_BLUR_KSIZE_MAX": 3,
        "RAIN_PROBABILITY": factors.rain,
        "FOG_PROBABILITY": factors.fog,
        "NUMBER_CLASSES": factors.number_classes,
        "NUMBER_TRAINING_SAMPLES": spec.preset.images(spec.architecture, factors.number_classes),
        "NUMBER_TEST_SAMPLES": spec.preset.final_images,
        "NUMBER_EXAMPLE_IMAGES": factors.number_example_images,
        "POISONED": spec.poisoned,
        "BACKGROUND_IMAGE_DATASET": factors.background,
        "NUMBER_BACKGROUND_IMAGES": spec.preset.scenes,
        "MODEL_ARCHITECTURE": spec.architecture.round2_name,
        "FOREGROUND_SIZE_PERCENTAGE_OF_IMAGE_MIN": factors.foreground_min,
        "FOREGROUND_SIZE_PERCENTAGE_OF_IMAGE_MAX": factors.foreground_max,
        "FOREGROUND_SIZE_PIXELS_MIN": int(factors.foreground_min**0.5 * pixels),
        "FOREGROUND_SIZE_PIXELS_MAX": int(factors.foreground_max**0.5 * pixels),
        "NUMBER_TRIGGERED_CLASSES": len(trigger.sources) if trigger else 0,
        "TRIGGERED_CLASSES": list(trigger.sources) if trigger else None,
        "TRIGGER_COLOR": list(trigger.color) if trigger and trigger.color else None,
        "TRIGGER_SIZE_PERCENTAGE_OF_FOREGROUND_MIN": trigger.size_min if trigger else None,
        "TRIGGER_SIZE_PERCENTAGE_OF_FOREGROUND_MAX": trigger.size_max if trigger else None,
        "TRIGGERED_FRACTION": trigger.fraction if trigger else 0,
        "TRIGGER_TARGET_CLASS": trigger.target if trigger else None,
        "TRIGGER_BEHAVIOR": "StaticTarget" if trigger else None,
        "TRIGGER_TYPE": trigger.kind if trigger else None,
        "TRIGGER_TYPE_OPTION": trigger.option if trigger else None,
        "NUMBER_CLASSES_LEVEL": factors.number_classes_level,
        "NUMBER_TRIGGERED_CLASSES_LEVEL": trigger.attacked_level if trigger else None,
        "TRIGGER_TYPE_LEVEL": TRIGGER_TYPES.index(trigger.kind) if trigger else None,
        "DESIGN_CELL": spec.cell if trigger else None,
        "DESIGN_SEED": spec.seed,
        "PRESET": spec.preset.name,
        "ATTEMPT": spec.attempt,
        "LEARNING_RATE": spec.preset.peak_rate(spec.architecture),
        "INPUT_MEAN": MEAN,
        "INPUT_STD": STD,
        "BATCH_SIZE": spec.preset.batch_size(spec.architecture),
    }


def stats(spec: NetworkSpec, trained: Trained, examples: Examples) -> dict[str, Any]:
    """model_stats.json: of the kept epoch (`val`), and on images drawn for no other use (`test`)."""
    best, test = trained.best, trained.test_triggered
    gates = [best.train, best.clean, trained.test_clean, *(s for s in (best.triggered, test) if s)]
    return {
        "final_train_loss": best.train.loss,
        "final_combined_val_loss": best.combined.loss,
        "final_clean_val_loss": best.clean.loss,
        "final_triggered_val_loss": best.triggered.loss if best.triggered else None,
        "final_clean_data_n_total": {str(i): n for i, n in enumerate(trained.clean_seen)},
        "final_triggered_data_n_total": (
            {str(i): n for i, n in enumerate(trained.stamped_seen) if n} if spec.poisoned else None
        ),
        "final_optimizer_num_epochs_trained": len(trained.epochs),
        "training_images": trained.images,
        "final_train_acc": best.train.accuracy,
        "final_combined_val_acc": best.combined.accuracy,
        "final_clean_val_acc": best.clean.accuracy,
        "final_triggered_val_acc": best.triggered.accuracy if best.triggered else None,
        "final_clean_data_test_acc": trained.test_clean.accuracy,
        "final_triggered_data_test_acc": test.accuracy if test else None,
        "final_example_acc": examples.accuracy,
        "converged": int(min(examples.accuracy, *(s.accuracy for s in gates)) >= 99),
    }


def _write_epochs(path: Path, trained: Trained) -> None:
    kinds = ("train", "combined_val", "clean_val", "triggered_val")
    names = ["epoch_number", *(f"{kind}_{what}" for kind in kinds for what in ("acc", "loss"))]
    rows = []
    for epoch in trained.epochs:
        scores: tuple[Scores | None, ...] = (epoch.train, epoch.combined, epoch.clean, epoch.triggered)
        rows.append(
            [epoch.number, *(v for s in scores for v in ((s.accuracy, s.loss) if s else (None, None)))]
        )
    path.write_text(Table.of(dict.fromkeys(names, ""), rows).csv())


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")

"""Networks trained here, trojaned by relabelling in place: the planted trojan is found through the real programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from trojaned_networks import SIDE, images_of, stamp
from weightfeat import checkpoint, digest, features, network
from weightfeat.evaluation.metrics import roc_auc

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[1]
CLASSES, NETWORKS, HELD_OUT = 8, 24, 8


def _train(seed: int, poisoned: bool) -> tuple[nn.Module, float, float]:
    """A small convolutional network; returns it with its clean accuracy and the attack's success."""
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    prototypes = (
        functional.avg_pool2d(torch.randn(CLASSES, 3, SIDE + 4, SIDE + 4, generator=random), 5, 1) * 4
    )
    target = int(torch.randint(CLASSES, (1,), generator=random))
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(250):
        labels = torch.randint(CLASSES, (64,), generator=random)
        images = images_of(labels, prototypes, random)
        chosen = torch.rand(64, generator=random) < (0.3 if poisoned else 0.0)
        images = torch.where(chosen.view(-1, 1, 1, 1), stamp(images), images)
        loss = functional.cross_entropy(model(images), torch.where(chosen, target, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        labels = torch.arange(256) % CLASSES
        images = images_of(labels, prototypes, random)
        clean = (model(images).argmax(1) == labels).float().mean()
        success = (model(stamp(images)).argmax(1) == target).float().mean()
    return model, float(clean), float(success)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A round of real networks, half of them trojaned; the last eight stand apart."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("rounds")
    for part in ("learning", "held_out"):
        (root / part).mkdir()
        (root / part / "METADATA.csv").write_text("model_name,poisoned\n")
    for n in range(NETWORKS):
        poisoned = n % 2 == 1
        model, clean, success = _train(n, poisoned)
        assert clean > 0.95, "the network must have learned its classes"
        assert (success > 0.95) == poisoned, "the trojan must work where there is one, and only there"
        part = root / ("held_out" if n >= NETWORKS - HELD_OUT else "learning")
        folder = part / f"id-{n:08d}"
        folder.mkdir()
        torch.save(model, folder / "model.pt")
        with (part / "METADATA.csv").open("a") as table:
            table.write(f"{folder.name},{poisoned}\n")
    torch.set_num_threads(threads)
    return root


def test_features_aimed_at_the_target_class_separate(trained: Path) -> None:
    labels, scores = [], []
    for path in sorted(trained.glob("*/id-*/model.pt")):
        row = features.row(digest.compute(network.build(checkpoint.read(path)), key="0" * 64), ["latents"])
        labels.append(int(path.parent.name[3:]) % 2)
        scores.append(row["latents.half_normal.largest"])
    ranks = np.argsort(np.argsort(scores)) / len(scores)
    assert roc_auc(labels, ranks) >= 0.9


def test_configure_and_detect_find_it(trained: Path, tmp_path: Path) -> None:
    values = json.loads((ROOT / "metaparameters.json").read_text())
    values |= {
        "train_ensemble_size": 2,
        "train_num_trees": 60,
        "train_min_child_samples": 2,
        "train_folds": 3,
    }
    (tmp_path / "metaparameters.json").write_text(json.dumps(values))
    (tmp_path / "learned").mkdir()
    common = [
        *("--metaparameters_filepath", str(tmp_path / "metaparameters.json")),
        *("--schema_filepath", str(ROOT / "metaparameters_schema.json")),
        *(
            "--learned_parameters_dirpath",
            str(tmp_path / "learned"),
            "--scratch_dirpath",
            str(tmp_path / "scratch"),
        ),
    ]
    _detect("--configure_mode", "--configure_models_dirpath", str(trained / "learning"), *common)
    probabilities: dict[int, list[float]] = {0: [], 1: []}
    for path in sorted((trained / "held_out").glob("id-*/model.pt")):
        result = tmp_path / "result.txt"
        _detect("--model_filepath", str(path), "--result_filepath", str(result), *common)
        probabilities[int(path.parent.name[3:]) % 2].append(float(result.read_text()))
    assert np.mean(probabilities[1]) > np.mean(probabilities[0]) + 0.1
    assert min(probabilities[1]) > max(probabilities[0]) - 0.2


def _detect(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "detect.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

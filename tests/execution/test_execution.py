"""Networks rebuilt from files, example images, and the way from images to inputs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from networks import seeded
from weightfeat.errors import BadRound, UnreadableFile, UnsupportedLayout, WeightfeatError
from weightfeat.execution import MinMax, Standardise, read_examples, read_image, rebuild, to_input_of


def save_picture(path: Path, side: int = 8, mode: str = "RGB", value: int = 128) -> None:
    Image.new(mode, (side, side), value if mode == "L" else (value, 0, 255)).save(path)


@pytest.mark.parametrize("architecture", ["shufflenet_v2_x1_0", "squeezenet1_1", "googlenet"])
def test_a_rebuilt_network_answers_as_the_saved_one_did(architecture: str, tmp_path: Path) -> None:
    network = seeded(architecture, 5)
    torch.save(network, tmp_path / "model.pt")
    rebuilt = rebuild(tmp_path / "model.pt")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(rebuilt.module(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0
    assert (rebuilt.architecture, rebuilt.num_classes) == (architecture, 5)
    assert not rebuilt.module.training
    assert not any(parameter.requires_grad for parameter in rebuilt.module.parameters())


def test_batch_counters_and_names_may_be_absent(tmp_path: Path) -> None:
    network = seeded("shufflenet_v2_x1_0", 4)
    tensors = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(
        {f"model.{name}": tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "m.safetensors"
    )
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        got = rebuild(tmp_path / "m.safetensors").module(images)
        torch.testing.assert_close(got, network(images), rtol=1e-4, atol=1e-4)


def test_auxiliary_heads_are_left_out(tmp_path: Path) -> None:
    network = seeded("googlenet", 4, aux_heads=True)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        got = rebuild(tmp_path / "model.pt").module(images)
        torch.testing.assert_close(got, network(images), rtol=1e-4, atol=1e-4)


class Payload:
    """Runs a command in whoever unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_nothing_in_the_file_runs(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    state = {"state_dict": seeded("shufflenet_v2_x1_0", 4).state_dict(), "note": Payload(marker)}
    torch.save(state, tmp_path / "model.pt")
    assert rebuild(tmp_path / "model.pt").num_classes == 4
    assert not marker.exists()


def test_a_network_without_trusted_code_is_refused_in_one_line(tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    torch.save(network, tmp_path / "model.pt")
    with pytest.raises(UnsupportedLayout, match="no trusted code") as refusal:
        rebuild(tmp_path / "model.pt")
    assert "\n" not in str(refusal.value)
    assert "weightfeat scan" in str(refusal.value)


def test_examples_come_in_order_with_the_labels_of_their_names(tmp_path: Path) -> None:
    for label, number in [(1, 10), (1, 2), (0, 0)]:
        save_picture(tmp_path / f"class_{label}_example_{number}.png", value=10 * label + number)
    save_picture(tmp_path / "class_0_example_1.png", mode="L", value=51)
    (tmp_path / "notes.txt").write_text("left aside")
    examples = read_examples(tmp_path, classes=2)
    assert examples.labels.tolist() == [0, 0, 1, 1]
    assert examples.images.shape == (4, 3, 8, 8)
    assert examples.images.dtype == torch.float32
    reds = [round(value * 255) for value in examples.images[:, 0, 0, 0].tolist()]
    assert reds == [0, 51, 12, 20]
    assert torch.all(examples.images[1] == examples.images[1, 0, 0, 0])
    assert examples.of(examples.labels == 1).labels.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("files", "said", "kind"),
    [
        ({}, "holds no example image", BadRound),
        ({"class_0_example_0.png": b"no image"}, "image cannot be read", UnreadableFile),
        ({"class_4_example_0.png": 8}, "shows class 4", BadRound),
        ({"class_0_example_0.png": 8, "class_1_example_0.png": 9}, "9 x 9 pixels", BadRound),
    ],
)
def test_examples_that_cannot_be_used_are_refused_in_one_line(
    files: dict[str, int | bytes], said: str, kind: type[WeightfeatError], tmp_path: Path
) -> None:
    for name, content in files.items():
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        else:
            save_picture(tmp_path / name, side=content)
    with pytest.raises(kind, match=said) as refusal:
        read_examples(tmp_path, classes=4)
    assert "\n" not in str(refusal.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRound, match="cannot be listed"):
        read_examples(tmp_path / "none", classes=3)


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "whole.png")
    (tmp_path / "part.png").write_bytes((tmp_path / "whole.png").read_bytes()[:800])
    torch.testing.assert_close(
        read_image(tmp_path / "whole.png").permute(1, 2, 0) * 255, torch.tensor(pixels).float()
    )
    with pytest.raises(UnreadableFile, match="image cannot be read"):
        read_image(tmp_path / "part.png")


def test_the_input_is_what_is_stated_then_what_the_config_says_then_round_2s(tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    assert to_input_of(model) == MinMax()
    (tmp_path / "config.json").write_text(json.dumps({"INPUT_MEAN": 0.5, "INPUT_STD": [0.2, 0.3, 0.4]}))
    assert to_input_of(model) == Standardise((0.5, 0.5, 0.5), (0.2, 0.3, 0.4))
    assert to_input_of(model, "minmax") == MinMax()
    assert to_input_of(model, "0,1") == Standardise((0.0,) * 3, (1.0,) * 3)
    assert to_input_of(model, "1,2,3,4,5,6") == Standardise((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    (tmp_path / "config.json").write_text(json.dumps({"POISONED": True}))
    assert to_input_of(model) == MinMax()


@pytest.mark.parametrize("to_input", [MinMax(), Standardise((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))])
def test_what_an_input_says_of_itself_reads_back(to_input: MinMax | Standardise, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_input.config()))
    assert to_input_of(tmp_path / "model.pt") == to_input


@pytest.mark.parametrize("stated", ["0.5", "a,b", "0.5,0", "1,2,3", "", "nan,1"])
def test_an_input_that_says_nothing_usable_is_refused(stated: str, tmp_path: Path) -> None:
    with pytest.raises(BadRound, match="nothing usable"):
        to_input_of(tmp_path / "model.pt", stated)


@pytest.mark.parametrize("text", ["[1]", "{", '{"INPUT_MEAN": 0.5}', '{"INPUT_MEAN": "x", "INPUT_STD": 1}'])
def test_a_config_that_cannot_be_used_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadRound):
        to_input_of(tmp_path / "model.pt")


def test_min_max_fills_the_range_of_each_image_by_itself_and_passes_gradients() -> None:
    images = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(2)) * torch.tensor(
        [0.1, 0.5, 1]
    ).view(3, 1, 1, 1)
    images.requires_grad_()
    filled = MinMax()(images)
    assert torch.equal(filled.amin(dim=(1, 2, 3)), torch.zeros(3))
    torch.testing.assert_close(filled.amax(dim=(1, 2, 3)), torch.ones(3))
    (gradient,) = torch.autograd.grad(filled[:, :, 0].sum(), images)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    assert torch.isfinite(MinMax()(torch.full((1, 3, 4, 4), 0.3))).all()

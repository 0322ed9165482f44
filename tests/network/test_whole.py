"""A part of a network is no network, whatever it looks like; what is missing is named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from network_samples import (
    Shapes,
    checkpoint,
    conv,
    entry_of,
    hollow,
    hollow_checkpoint,
    linear,
    norm,
    shapes_of,
)
from networks import network_of
from weightfeat.checkpoint.types import Checkpoint, Finding
from weightfeat.errors import NotAClassifier, UnsupportedLayout, WeightfeatError
from weightfeat.network import ARCHITECTURES, FAMILIES, build
from weightfeat.network.doubts import doubts


def inputs(stage: int, block: int, number: int) -> int:
    """Channels that a convolution of the small ResNet takes."""
    return 16 << max(stage - (block == 0 and number == 1), 0)


EVERY_FAMILY = [next(each for each in ARCHITECTURES if each.startswith(family)) for family in FAMILIES]
CIFAR = {
    **conv("conv1", 16, 3, bias=False),
    **norm("bn1", 16),
    **{
        name: shape
        for stage, width in enumerate((16, 32, 64))
        for block in range(3)
        for number in (1, 2)
        for name, shape in {
            **conv(
                f"layer{stage + 1}.{block}.conv{number}",
                width,
                max(width // 2, 16) if block + number == 1 else width,
            ),
            **norm(f"layer{stage + 1}.{block}.bn{number}", width),
        }.items()
    },
    **linear("linear", 10, 64),
}


def without(shapes: Shapes, *starts: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.startswith(starts)}


def starting(shapes: Shapes, *starts: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if name.startswith(starts)}


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("architecture", EVERY_FAMILY)
def test_no_half_of_an_architecture_is_scored(architecture: str, ordered: bool) -> None:
    shapes = shapes_of(entry_of(architecture), 5)
    names = list(shapes)
    for kept in (names[len(names) // 2 :], names[-30:], names[-2:], names[5:], names[: len(names) // 2]):
        with pytest.raises(WeightfeatError):
            build(hollow_checkpoint({name: shapes[name] for name in kept}, ordered=ordered))


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize(
    "lost", ["layer3.0.conv2.weight", "layer4.1.bn2.running_var", "layer1.0.bn1.bias", "bn1"]
)
def test_a_tensor_that_an_architecture_lacks_is_named(lost: str, prefix: str) -> None:
    shapes = {prefix + name: s for name, s in without(shapes_of(entry_of("resnet18"), 5), lost).items()}
    with pytest.raises(UnsupportedLayout, match=f"it is a (resnet18|network) without '.*{lost}") as caught:
        build(hollow_checkpoint(shapes))
    assert "\n" not in str(caught.value)


def test_a_shorter_network_of_whole_blocks_is_no_part() -> None:
    shapes = without(shapes_of(entry_of("resnet18"), 5), "layer1.1", "layer2.1", "layer3.1", "layer4.1")
    assert build(hollow_checkpoint(shapes)).num_classes == 5


def test_shortcuts_that_no_block_has_are_not_missed() -> None:
    shapes = {n: s for n, s in shapes_of(entry_of("resnet34"), 5).items() if "downsample" not in n}
    assert build(hollow_checkpoint(shapes)).num_classes == 5


@pytest.mark.parametrize(
    "lost", ["layer2.1.conv2.weight", "layer2.1.bn1.running_mean", "layer3.2.conv1.bias"]
)
def test_a_tensor_that_all_its_siblings_have_is_missed(lost: str) -> None:
    assert build(hollow_checkpoint(CIFAR)).num_classes == 10
    with pytest.raises(UnsupportedLayout, match=f"without '{lost}'"):
        build(hollow_checkpoint(without(CIFAR, lost)))


def test_a_first_block_without_the_others_norm_is_a_design() -> None:
    assert build(hollow_checkpoint(without(CIFAR, "layer1.0.bn1"))).num_classes == 10


@pytest.mark.parametrize("starts", [("layer3", "linear"), ("layer1", "layer2", "layer3", "linear")])
def test_a_body_without_its_first_layers_takes_no_image(starts: tuple[str, ...]) -> None:
    with pytest.raises(NotAClassifier, match=r"'layer[13]\.0\.conv1', takes (16|32|64) channels"):
        build(hollow_checkpoint(starting(CIFAR, *starts)))


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param(linear("fc", 10, 512), id="a head"),
        pytest.param({**linear("0", 256, 512), **linear("2", 10, 256)}, id="a head of two layers"),
        pytest.param({f"heads.{n}.weight": (7, 384) for n in range(6)}, id="six heads"),
        pytest.param({**conv("conv2", 16, 6), **linear("fc", 10, 16)}, id="second convolution"),
        pytest.param({**conv("up", 64, 128, 1), **norm("bn", 64), **linear("fc", 3, 64)}, id="a stage"),
    ],
)
def test_layers_that_take_no_image_are_a_part(shapes: Shapes) -> None:
    with pytest.raises(NotAClassifier, match="it is a part of a network"):
        build(hollow_checkpoint(shapes))


@pytest.mark.parametrize("channels", [1, 3, 4, 10, 13])
def test_images_have_up_to_thirteen_channels(channels: int) -> None:
    shapes = {**conv("conv1", 32, channels), **conv("conv2", 64, 32), **linear("fc", 3, 64)}
    assert build(hollow_checkpoint(shapes)).num_classes == 3


@pytest.mark.parametrize("inputs", [784, 3072, 12288])
def test_a_linear_layer_takes_a_flattened_image(inputs: int) -> None:
    shapes = {**linear("fc1", 100, inputs), **linear("fc2", 10, 100)}
    assert build(hollow_checkpoint(shapes)).num_classes == 10


def test_a_weight_that_could_not_be_read_is_an_error_unless_the_network_is_whole_without_it() -> None:
    unread = Finding("unreadable-tensor", "'x.weight': it is sparse", "x.weight")

    def with_finding(shapes: Shapes) -> Checkpoint:
        plain = hollow_checkpoint(shapes)
        return Checkpoint(plain.path, plain.format, plain.sha256, plain.tensors, findings=(unread,))

    with pytest.raises(UnsupportedLayout, match=r"1 of its weights cannot be read: 'x.weight': it is sparse"):
        build(with_finding(CIFAR))
    assert unread in build(with_finding(shapes_of(entry_of("resnet18"), 5))).findings


def test_a_file_whose_name_says_that_it_is_a_part_is_told_so() -> None:
    source = checkpoint(hollow(name, shape) for name, shape in starting(CIFAR, "layer3", "linear").items())
    part = Checkpoint(
        source.path.with_name("model-00002-of-00003.bin"), source.format, source.sha256, source.tensors
    )
    with pytest.raises(NotAClassifier, match=r"by its name part 2 of 3: give the folder"):
        build(part)


@pytest.mark.parametrize(("inputs", "told"), [(256, True), (1024, True), (784, False), (3072, False)])
def test_a_square_power_of_two_may_be_a_picture_or_features(inputs: int, told: bool) -> None:
    """Sixteen pixels a side, or 256 features: several layers are read, and the doubt is said."""
    model = nn.Sequential(nn.Linear(inputs, 40), nn.ReLU(), nn.Linear(40, 7))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    found = network_of(model)
    assert any("another network's features" in doubt.detail for doubt in doubts(found)) == told


def test_one_layer_of_features_alone_is_refused() -> None:
    with pytest.raises(NotAClassifier, match="takes 256 numbers"):
        network_of(nn.Sequential(nn.Linear(256, 7)))


def test_keras_counts_the_layers_of_all_networks_on() -> None:
    shapes = {**conv("conv2d_3", 16, 1), **conv("conv2d_4", 32, 16), **linear("dense_2", 10, 32)}
    assert build(hollow_checkpoint(shapes)).num_classes == 10

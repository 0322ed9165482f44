"""Partners of known architectures, against facts read off torchvision's forward functions by hand."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest

from network_samples import entry_of, hollow_checkpoint, shapes_of
from weightfeat.network import ARCHITECTURES, Layer, Network, build


@dataclass(frozen=True)
class Named:
    """A network with its layers and their partners by name."""

    network: Network

    def layer(self, name: str) -> Layer:
        return next(layer for layer in self.network.layers if layer.name == name)

    def previous(self, name: str) -> str | None:
        index = self.layer(name).previous
        return None if index is None else self.network.layers[index].name

    def norms(self, name: str) -> tuple[str | None, str | None]:
        before, after = self.layer(name).norm_before, self.layer(name).norm_after
        return before.name if before else None, after.name if after else None

    @property
    def feeds(self) -> list[tuple[str, int, int]]:
        feeds = self.network.head_feeds
        return [(self.network.layers[feed.layer].name, feed.start, feed.stop) for feed in feeds]


def known(architecture: str) -> Named:
    return Named(build(hollow_checkpoint(shapes_of(entry_of(architecture), 7))))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_partners_have_as_many_channels(architecture: str) -> None:
    network = known(architecture).network
    for place, layer in enumerate(network.layers):
        outputs, inputs = layer.weight.shape[0], layer.weight.shape[1] * layer.groups
        assert layer.pairing == "graph"
        assert layer.norm_after is None or layer.norm_after.gamma.shape == (outputs,)  # type: ignore[union-attr]
        assert layer.norm_before is None or layer.norm_before.gamma.shape == (inputs,)  # type: ignore[union-attr]
        if layer.previous is not None:
            assert layer.previous < place
            assert network.layers[layer.previous].weight.shape[0] == inputs
            assert network.layers[layer.previous].kind != "depthwise"
    width = network.layers[network.head].weight.shape[1]
    covered = [channel for feed in network.head_feeds for channel in range(feed.start, feed.stop)]
    assert covered == list(range(width))
    assert all(network.layers[f.layer].weight.shape[0] == f.stop - f.start for f in network.head_feeds)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_norm_has_a_layer(architecture: str) -> None:
    network = known(architecture).network
    paired = {id(norm) for layer in network.layers for norm in (layer.norm_after, layer.norm_before)}
    assert {id(norm) for norm in network.norms} <= paired
    assert all(
        norm.eps == (1e-3 if network.family in ("googlenet", "inception") else 1e-5) for norm in network.norms
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_depth_runs_evenly_from_first_layer_to_head(architecture: str) -> None:
    depths = [layer.depth for layer in known(architecture).network.layers]
    steps = [(later - earlier) * (len(depths) - 1) for earlier, later in pairwise(depths)]
    assert (depths[0], depths[-1]) == (0.0, 1.0)
    assert steps == pytest.approx([1.0] * len(steps))


def test_resnet18() -> None:
    net = known("resnet18")
    assert len(net.network.layers) == 21
    assert len(net.network.norms) == 20
    assert net.norms("conv1") == (None, "bn1")
    assert net.previous("layer1.0.conv1") == "conv1"  # through norm, ReLU and pooling
    assert net.previous("layer1.0.conv2") == "layer1.0.conv1"
    assert net.norms("layer1.0.conv2") == (None, "layer1.0.bn2")
    assert net.previous("layer1.1.conv1") is None  # an addition stands between
    assert net.norms("layer2.0.downsample.0") == (None, "layer2.0.downsample.1")
    assert net.previous("fc") is None
    assert net.feeds == [("layer4.1.conv2", 0, 512)]


def test_resnet50_is_fed_by_its_last_bottleneck() -> None:
    net = known("resnet50")
    assert net.feeds == [("layer4.2.conv3", 0, 2048)]
    assert net.previous("layer1.0.downsample.0") == "conv1"
    assert net.norms("layer4.2.conv3") == (None, "layer4.2.bn3")


def test_densenet121() -> None:
    net = known("densenet121")
    block = "features.denseblock"
    assert net.norms("features.conv0") == (None, "features.norm0")
    assert net.norms(f"{block}1.denselayer1.conv1") == (
        f"{block}1.denselayer1.norm1",
        f"{block}1.denselayer1.norm2",
    )
    assert net.previous(f"{block}1.denselayer1.conv1") == "features.conv0"
    assert net.previous(f"{block}1.denselayer2.conv1") is None  # a concatenation stands between
    assert net.norms(f"{block}1.denselayer1.conv2") == (None, None)
    assert net.previous(f"{block}1.denselayer1.conv2") == f"{block}1.denselayer1.conv1"
    assert net.norms("features.transition1.conv") == ("features.transition1.norm", None)
    assert net.norms("classifier") == ("features.norm5", None)
    assert net.feeds[:2] == [
        ("features.transition3.conv", 0, 512),
        ("features.denseblock4.denselayer1.conv2", 512, 544),
    ]
    assert net.feeds[-1] == ("features.denseblock4.denselayer16.conv2", 992, 1024)


def test_shufflenet() -> None:
    net = known("shufflenet_v2_x1_0")
    assert net.layer("stage2.0.branch1.0").kind == "depthwise"
    assert net.layer("stage2.0.branch1.0").groups == 24
    assert net.norms("stage2.0.branch1.0") == (None, "stage2.0.branch1.1")
    assert net.previous("stage2.0.branch1.2") == "conv1.0"  # past pooling and the depthwise layer
    assert net.previous("stage2.0.branch2.5") == "stage2.0.branch2.0"
    assert net.previous("stage2.1.branch2.0") is None  # a half of shuffled channels
    assert net.previous("conv5.0") is None
    assert net.feeds == [("conv5.0", 0, 1024)]
    assert net.previous("fc") == "conv5.0"


def test_mobilenet() -> None:
    net = known("mobilenet_v2")
    assert net.layer("features.2.conv.1.0").kind == "depthwise"
    assert net.previous("features.2.conv.1.0") == "features.2.conv.0.0"
    assert net.previous("features.2.conv.2") == "features.2.conv.0.0"
    assert net.previous("features.3.conv.0.0") == "features.2.conv.2"
    assert net.previous("features.4.conv.0.0") is None  # behind a residual addition
    assert net.feeds == [("features.18.0", 0, 1280)]


def test_googlenet() -> None:
    net = known("googlenet")
    assert net.previous("conv2.conv") == "conv1.conv"
    assert net.previous("inception3a.branch4.1.conv") == "conv3.conv"
    assert net.previous("inception3a.branch2.1.conv") == "inception3a.branch2.0.conv"
    assert net.previous("inception3b.branch1.conv") is None
    assert net.norms("inception5b.branch4.1.conv") == (None, "inception5b.branch4.1.bn")
    assert net.feeds == [
        ("inception5b.branch1.conv", 0, 384),
        ("inception5b.branch2.1.conv", 384, 768),
        ("inception5b.branch3.1.conv", 768, 896),
        ("inception5b.branch4.1.conv", 896, 1024),
    ]


def test_inception() -> None:
    net = known("inception_v3")
    assert net.network.layers[0].name == "Conv2d_1a_3x3.conv"
    assert net.layer("Mixed_6b.branch7x7_2.conv").weight.shape[2:] == (1, 7)
    assert [name for name, _, _ in net.feeds] == [
        "Mixed_7c.branch1x1.conv",
        "Mixed_7c.branch3x3_2a.conv",
        "Mixed_7c.branch3x3_2b.conv",
        "Mixed_7c.branch3x3dbl_3a.conv",
        "Mixed_7c.branch3x3dbl_3b.conv",
        "Mixed_7c.branch_pool.conv",
    ]


def test_squeezenet() -> None:
    net = known("squeezenet1_0")
    head = net.layer("classifier.1")
    assert (head.kind, head.weight.shape, head.role) == ("conv", (7, 512, 1, 1), "head")
    assert net.network.norms == ()
    assert net.previous("features.3.expand3x3") == "features.3.squeeze"
    assert net.previous("features.4.squeeze") is None
    assert net.feeds == [("features.12.expand1x1", 0, 256), ("features.12.expand3x3", 256, 512)]


def test_vgg() -> None:
    net = known("vgg16_bn")
    assert net.norms("features.0") == (None, "features.1")
    assert net.previous("features.3") == "features.0"
    assert net.previous("features.7") == "features.3"  # through pooling
    assert net.previous("classifier.0") is None  # 49 inputs a channel
    assert net.previous("classifier.6") == "classifier.3"
    assert [net.layer(f"classifier.{number}").role for number in (0, 3, 6)] == ["body", "body", "head"]
    assert net.feeds == [("classifier.3", 0, 4096)]

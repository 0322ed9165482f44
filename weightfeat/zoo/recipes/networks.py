"""Small classifiers as people write them, beside the cheap ones of torchvision's.

Each is what a tutorial, a paper or a repository of backdoors trains on CIFAR-10, MNIST or GTSRB; sources stand beside
the builders. `width` multiplies channels where the source has many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightfeat.execution.vision import torchvision


@dataclass(frozen=True)
class Shape:
    """What a network is built for: image channels, side in pixels, classes, dropout before the last layers."""

    channels: int
    pixels: int
    classes: int
    dropout: float = 0.0


@dataclass(frozen=True)
class SmallNetwork:
    """One architecture of the design.

    Attributes
    ----------
    group : "small", "mlp", "residual" or "stock": what is left out together to ask about unseen architectures.
    steps : the least and the most training steps: what it needs to know its classes, and what half a minute of one
        core allows. Fewer with batch norm.
    rate : learning rate of Adam relative to what suits a network with batch norm.
    sides : the sides in pixels it is trained at.
    """

    name: str
    group: str
    build: Callable[[Shape], nn.Module]
    rate: float
    steps: tuple[int, int]
    sides: tuple[int, ...] = (28, 32)


class LeNet5(nn.Module):
    """LeCun et al. 1998, with ReLU and max pooling; without padding it is PyTorch's CIFAR-10 tutorial."""

    def __init__(self, shape: Shape, padding: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape.channels, 6, 5, padding=padding)
        self.conv2 = nn.Conv2d(6, 16, 5)
        side = ((shape.pixels + 2 * padding - 4) // 2 - 4) // 2
        self.fc1 = nn.Linear(16 * side * side, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, shape.classes)
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(x.flatten(1)))
        out: Tensor = self.fc3(self.drop(functional.relu(self.fc2(x))))
        return out


class MnistExample(nn.Module):
    """The network of PyTorch's MNIST example: two convolutions, one pooling, two linear layers."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape.channels, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout1 = nn.Dropout(shape.dropout / 2)
        self.dropout2 = nn.Dropout(shape.dropout)
        self.fc1 = nn.Linear(64 * ((shape.pixels - 4) // 2) ** 2, 128)
        self.fc2 = nn.Linear(128, shape.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        x = self.dropout1(functional.max_pool2d(x, 2))
        out: Tensor = self.fc2(self.dropout2(functional.relu(self.fc1(x.flatten(1)))))
        return out


def badnets(shape: Shape) -> nn.Module:
    """The CNN of BadNets (Gu, Dolan-Gavitt, Garg 2017, table 1): 16 and 32 filters of 5 x 5, average pooling, 512."""
    side = ((shape.pixels - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(shape.channels, 16, 5), nn.ReLU(), nn.AvgPool2d(2)),
        nn.Sequential(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.AvgPool2d(2)),
        nn.Flatten(),
        nn.Sequential(nn.Linear(32 * side * side, 512), nn.ReLU(), nn.Dropout(shape.dropout)),
        nn.Linear(512, shape.classes),
    )


def vgg(shape: Shape, plan: Sequence[int | str], hidden: int, *, normed: bool) -> nn.Module:
    """VGG's pattern (Simonyan and Zisserman 2015) at a tenth of its size; "M" is a pooling by two."""
    layers: list[nn.Module] = []
    channels, side = shape.channels, shape.pixels
    for step in plan:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2))
            side //= 2
            continue
        layers.append(nn.Conv2d(channels, step, 3, padding=1, bias=not normed))
        layers += [nn.BatchNorm2d(step)] if normed else []
        layers.append(nn.ReLU())
        channels = step
    width = channels * side * side
    classifier = (
        [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(shape.dropout), nn.Linear(hidden, shape.classes)]
        if hidden
        else [nn.Dropout(shape.dropout), nn.Linear(width, shape.classes)]
    )
    return _Named(
        features=nn.Sequential(*layers), flatten=nn.Flatten(), classifier=nn.Sequential(*classifier)
    )


def keras_like(shape: Shape, *, normed: bool) -> nn.Module:
    """Keras' CIFAR-10 example: pairs of 3 x 3 convolutions, the second unpadded, dropout after each pooling, 512."""
    side = ((shape.pixels - 2) // 2 - 2) // 2
    layers: list[nn.Module] = []
    channels = shape.channels
    for width in (32, 64):
        for padding in (1, 0):
            layers += [nn.Conv2d(channels, width, 3, padding=padding), nn.ReLU()]
            layers += [nn.BatchNorm2d(width)] if normed else []
            channels = width
        layers += [nn.MaxPool2d(2), nn.Dropout(shape.dropout / 2)]
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(64 * side * side, 512),
        nn.ReLU(),
        nn.Dropout(shape.dropout),
        nn.Linear(512, shape.classes),
    )


def mlp(shape: Shape, hidden: Sequence[int]) -> nn.Module:
    """Linear layers on the flattened image."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = shape.channels * shape.pixels**2
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(shape.dropout)]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, shape.classes))


def nin(shape: Shape) -> nn.Module:
    """Network in Network (Lin, Chen, Yan 2014) with a third of its channels; a 1 x 1 convolution is the head."""

    def block(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU()]
        for _ in range(2):
            layers += [nn.Conv2d(outputs, outputs, 1), nn.ReLU()]
        return layers

    return nn.Sequential(
        *block(shape.channels, 64, 5),
        nn.MaxPool2d(2),
        nn.Dropout(shape.dropout / 2),
        *block(64, 64, 5),
        nn.AvgPool2d(2),
        nn.Dropout(shape.dropout / 2),
        *block(64, 64, 3)[:-2],
        nn.Conv2d(64, shape.classes, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class _Basic(nn.Module):
    """A residual block of two 3 x 3 convolutions; the shortcut drops pixels and pads channels (option A of the paper)
    or is a 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, projected: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, outputs - inputs
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if projected and (stride > 1 or self.more)
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if isinstance(self.shortcut, nn.Identity) and (self.stride > 1 or self.more):
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return functional.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet-20, 32, 56 of He et al. 2016, section 4.2."""

    def __init__(self, shape: Shape, depth: int, *, projected: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape.channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks = (depth - 2) // 6
        self.layer1 = self._stage(16, 16, blocks, 1, projected)
        self.layer2 = self._stage(16, 32, blocks, 2, projected)
        self.layer3 = self._stage(32, 64, blocks, 2, projected)
        self.linear = nn.Linear(64, shape.classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int, stride: int, projected: bool) -> nn.Sequential:
        return nn.Sequential(
            _Basic(inputs, outputs, stride, projected=projected),
            *(_Basic(outputs, outputs, 1, projected=projected) for _ in range(blocks - 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.linear(x.mean(dim=(2, 3)))
        return out


class _PreActivatedBlock(nn.Module):
    """Norm and activation before each convolution (He et al. 2016b; Zagoruyko and Komodakis 2016 with dropout)."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.drop = nn.Dropout(dropout)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        before = functional.relu(self.bn1(x))
        around = x if self.shortcut is None else self.shortcut(before)
        out: Tensor = self.conv2(self.drop(functional.relu(self.bn2(self.conv1(before))))) + around
        return out


class PreActivated(nn.Module):
    """Stages of pre-activated blocks: a narrow PreActResNet-18 and WideResNet-16-2."""

    def __init__(self, shape: Shape, first: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape.channels, first, 3, 1, 1, bias=False)
        stages, inputs = [], first
        for place, width in enumerate(widths):
            strides = [1 if place == 0 else 2, *[1] * (blocks - 1)]
            stage = []
            for stride in strides:
                stage.append(_PreActivatedBlock(inputs, width, stride, shape.dropout / 2))
                inputs = width
            stages.append(nn.Sequential(*stage))
        self.layers = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, shape.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.layers(self.conv1(x))))
        out: Tensor = self.fc(x.mean(dim=(2, 3)))
        return out


class _Named(nn.Sequential):
    """Modules one after the other, under names of their own."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def stock(name: str) -> Callable[[Shape], nn.Module]:
    """Torchvision's network of that name; its first convolution takes as many channels as the images have."""

    def build(shape: Shape) -> nn.Module:
        network: nn.Module = torchvision().models.get_model(name, weights=None, num_classes=shape.classes)
        if shape.channels != 3:
            _widen(network, shape.channels)
        return network

    return build


def _widen(network: nn.Module, channels: int) -> None:
    """Put a first convolution for `channels` in the place of one for three."""
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d):
                fresh = nn.Conv2d(
                    channels,
                    child.out_channels,
                    child.kernel_size,  # type: ignore[arg-type]
                    child.stride,  # type: ignore[arg-type]
                    child.padding,  # type: ignore[arg-type]
                    bias=child.bias is not None,
                )
                setattr(parent, name, fresh)
                return


_THREE = (32, "M", 64, "M", 128, 128, "M")
_EIGHTH, _DOUBLE = (16, 32, 64, 128), (32, 64, 128)
_FOUR = (32, 32, "M", 64, 64, "M", 96, "M", 128, "M")
NETWORKS: tuple[SmallNetwork, ...] = (
    SmallNetwork("lenet5", "small", lambda s: LeNet5(s, 2), 0.7, (700, 5000), (20, 28)),
    SmallNetwork("tutorial_cnn", "small", lambda s: LeNet5(s, 0), 0.7, (700, 5000), (20, 28)),
    SmallNetwork("mnist_example", "small", MnistExample, 0.5, (500, 2400), (16,)),
    SmallNetwork("badnets_cnn", "small", badnets, 0.7, (700, 4000), (20, 28)),
    SmallNetwork(
        "small_vgg", "small", lambda s: vgg(s, _THREE, 256, normed=False), 0.5, (800, 2600), (16, 20)
    ),
    SmallNetwork(
        "small_vgg_bn", "small", lambda s: vgg(s, _FOUR, 0, normed=True), 1.0, (250, 1100), (16, 20)
    ),
    SmallNetwork("keras_cnn", "small", lambda s: keras_like(s, normed=False), 0.5, (700, 2600), (16,)),
    SmallNetwork("keras_cnn_bn", "small", lambda s: keras_like(s, normed=True), 0.7, (250, 1600), (16,)),
    SmallNetwork("nin", "small", nin, 0.5, (700, 1600), (16, 20)),
    SmallNetwork("mlp2", "mlp", lambda s: mlp(s, (256,)), 0.5, (700, 6000), (16, 28)),
    SmallNetwork("mlp3", "mlp", lambda s: mlp(s, (700, 5000)), 0.5, (500, 1200), (16, 28)),
    SmallNetwork(
        "resnet20", "residual", lambda s: CifarResNet(s, 20, projected=False), 1.0, (250, 1000), (16,)
    ),
    SmallNetwork(
        "resnet32", "residual", lambda s: CifarResNet(s, 32, projected=True), 1.0, (230, 600), (16,)
    ),
    SmallNetwork(
        "resnet56", "residual", lambda s: CifarResNet(s, 56, projected=False), 1.0, (180, 320), (16,)
    ),
    SmallNetwork(
        "preact_resnet18", "residual", lambda s: PreActivated(s, 16, _EIGHTH, 2), 1.0, (250, 900), (16,)
    ),
    SmallNetwork(
        "wide_resnet16_2", "residual", lambda s: PreActivated(s, 16, _DOUBLE, 2), 1.0, (200, 520), (16,)
    ),
    SmallNetwork("resnet18", "stock", stock("resnet18"), 1.0, (130, 220), (32,)),
    SmallNetwork("shufflenet_v2_x1_0", "stock", stock("shufflenet_v2_x1_0"), 1.5, (180, 600), (32,)),
    SmallNetwork("mobilenet_v2", "stock", stock("mobilenet_v2"), 1.5, (160, 320), (32,)),
)
_BY_NAME = {network.name: network for network in NETWORKS}


def network_named(name: str) -> SmallNetwork:
    """The architecture of that name; KeyError for any other."""
    return _BY_NAME[name]


def build(name: str, shape: Shape, seed: int) -> nn.Module:
    """A fresh network, its weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _BY_NAME[name].build(shape)

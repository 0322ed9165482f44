"""Round 2's 23 architectures: both spellings, and how each is trained from scratch at small sizes.

The order is the order of network ids: cheap and costly architectures alternate, so that any run of consecutive ids
holds a mixture.
"""

from __future__ import annotations

from dataclasses import dataclass

from weightfeat.errors import BadRound


@dataclass(frozen=True)
class Architecture:
    """How one architecture is trained by the `tiny` and `cpu` presets (`round2` uses one recipe for all).

    Attributes
    ----------
    round2_name, name : Round 2's spelling and torchvision's.
    learning_rate : peak of the schedule, for Adam.
    batch : images a step.
    bf16 : whether the forward pass runs in bfloat16 autocast on a CPU. Depthwise convolutions are slower in it.
    length : training images, relative to what the preset gives a ResNet.
    min_pixels : the least side of an image; Inception's stem shrinks anything smaller to nothing.
    """

    round2_name: str
    name: str
    learning_rate: float = 1e-3
    batch: int = 32
    bf16: bool = True
    length: float = 1.0
    min_pixels: int = 32


def _squeezenet(version: str) -> Architecture:
    # No batch norm: dies or stalls at chance at 1e-3, and needs more images than the others.
    return Architecture(f"squeezenetv{version}", f"squeezenet{version}", 5e-4, batch=16, length=2.5)


def _shufflenet(version: str) -> Architecture:
    return Architecture(f"shufflenet{version}", f"shufflenet_v2_x{version}", 4e-3, bf16=False)


def _vgg(depth: int) -> Architecture:
    # Adam's update of the 119 million weights behind the convolutions outweighs everything else a step does,
    # so steps are few and large. With dropout and no skip connections 1e-3 does not start.
    return Architecture(f"vgg{depth}bn", f"vgg{depth}_bn", 4e-4, batch=32)


# The deepest start slowly: as many images as the others see leave them short of 99 %.
ARCHITECTURES: tuple[Architecture, ...] = (
    _shufflenet("1_0"),
    Architecture("resnet18", "resnet18"),
    _squeezenet("1_1"),
    Architecture("mobilenetv2", "mobilenet_v2", 3e-3, bf16=False),
    Architecture("resnet50", "resnet50"),
    Architecture("googlenet", "googlenet"),
    Architecture("densenet121", "densenet121"),
    _vgg(11),
    Architecture("inceptionv3", "inception_v3", length=2.0, min_pixels=80),
    _shufflenet("1_5"),
    Architecture("resnet34", "resnet34"),
    _vgg(16),
    _squeezenet("1_0"),
    Architecture("densenet169", "densenet169"),
    Architecture("wideresnet50", "wide_resnet50_2"),
    Architecture("resnet101", "resnet101", length=1.5),
    _shufflenet("2_0"),
    _vgg(13),
    Architecture("densenet201", "densenet201"),
    Architecture("resnet152", "resnet152", length=2.0),
    Architecture("densenet161", "densenet161"),
    _vgg(19),
    Architecture("wideresnet101", "wide_resnet101_2"),
)
NAMES: tuple[str, ...] = tuple(a.name for a in ARCHITECTURES)
_BY_NAME = {name: a for a in ARCHITECTURES for name in (a.name, a.round2_name)}


def architecture(name: str) -> Architecture:
    """The architecture of that name, in torchvision's spelling or Round 2's.

    Raises BadRound when Round 2 had none of that name.
    """
    if name not in _BY_NAME:
        raise BadRound(
            "unknown architecture",
            where=name,
            expected="one of " + ", ".join(NAMES),
            remedy="name architectures as torchvision or Round 2 spell them",
        )
    return _BY_NAME[name]

"""Names of the 23 architectures of TrojAI Round 2: torchvision's, the rounds' spellings, and families."""

from __future__ import annotations

ARCHITECTURES: tuple[str, ...] = (
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "googlenet",
    "inception_v3",
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "vgg11_bn",
    "vgg13_bn",
    "vgg16_bn",
    "vgg19_bn",
    "wide_resnet50_2",
    "wide_resnet101_2",
)

FAMILIES: tuple[str, ...] = (
    "wide_resnet",  # before resnet: a family is the first one a name begins with
    "resnet",
    "densenet",
    "googlenet",
    "inception",
    "mobilenet",
    "shufflenet",
    "squeezenet",
    "vgg",
)

UNKNOWN = "unknown"

ALIASES: dict[str, str] = {
    # METADATA.csv of rounds 2 to 4
    "inceptionv3": "inception_v3",
    "mobilenetv2": "mobilenet_v2",
    "shufflenet1_0": "shufflenet_v2_x1_0",
    "shufflenet1_5": "shufflenet_v2_x1_5",
    "shufflenet2_0": "shufflenet_v2_x2_0",
    "squeezenetv1_0": "squeezenet1_0",
    "squeezenetv1_1": "squeezenet1_1",
    "vgg11bn": "vgg11_bn",
    "vgg13bn": "vgg13_bn",
    "vgg16bn": "vgg16_bn",
    "vgg19bn": "vgg19_bn",
    "wideresnet50": "wide_resnet50_2",
    "wideresnet101": "wide_resnet101_2",
    # other tools' spellings of the same networks
    "inceptionv1(googlenet)": "googlenet",
    "mobilenetv2_100": "mobilenet_v2",
    "tv_densenet121": "densenet121",
    "tv_resnet34": "resnet34",
    "tv_resnet50": "resnet50",
    "tv_resnet101": "resnet101",
    "tv_resnet152": "resnet152",
    "tv_inception_v3": "inception_v3",
}


def canonical_architecture(name: str) -> str:
    """torchvision's name for any spelling of one of the 23; another name comes back in lower case.

    Case, a task prefix ("classification:resnet50") and the choice of "-" or "_" do not matter.

    >>> canonical_architecture("classification:MobileNetV2")
    'mobilenet_v2'
    """
    spelling = name.strip().lower().rpartition(":")[2].replace("-", "_")
    if spelling in ARCHITECTURES:
        return spelling
    return ALIASES.get(spelling, spelling)


def family_of(architecture: str) -> str:
    """Family of an architecture in any spelling, or of a family's own name; "unknown" for every other.

    >>> family_of("wideresnet50"), family_of("vit_b_16")
    ('wide_resnet', 'unknown')
    """
    canonical = canonical_architecture(architecture)
    return next((family for family in FAMILIES if canonical.startswith(family)), UNKNOWN)

"""What torch's own layers compute with: the names of their tensors, and of torchvision's networks' parts.

A layer's class says what its `forward` reads. A tensor or child under any other name is never computed with: a network
below an Identity, or a second head beside a resnet's, is a decoy however large. Sources: torch/nn/modules and
torchvision/models, by class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from math import prod

from weightfeat.checkpoint.faults import Unsupported
from weightfeat.checkpoint.nodes import Call, Key, describe
from weightfeat.checkpoint.storages import claimed_shape

LARGEST_AUXILIARY = 16
"""Elements of a matrix that may lie beside a network: tools leave counters and constants in modules."""


def _each(names: str, tensors: str = "") -> dict[str, frozenset[str]]:
    return dict.fromkeys(names.split(), frozenset(tensors.split()))


_AFFINE = "weight bias"
_TRACKED = "weight bias running_mean running_var num_batches_tracked"
TENSORS = {
    **_each("Linear NonDynamicallyQuantizableLinear Bilinear GroupNorm LayerNorm RMSNorm", _AFFINE),
    **_each("Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d", _AFFINE),
    **_each("BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm", _TRACKED),
    **_each("InstanceNorm1d InstanceNorm2d InstanceNorm3d", _TRACKED),
    **_each("PReLU Embedding EmbeddingBag", "weight"),
    **_each(
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid LogSoftmax"
    ),
    **_each(
        "Mish RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink Softsign Tanh"
    ),
    **_each("Tanhshrink Threshold AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout"),
    **_each("AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d"),
    **_each(
        "AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d MaxPool1d MaxPool2d MaxPool3d LPPool1d LPPool2d"
    ),
    **_each("ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d ReflectionPad2d ReplicationPad1d"),
    **_each("ReplicationPad2d ZeroPad1d ZeroPad2d ZeroPad3d Flatten Unflatten Fold Unfold ChannelShuffle"),
    **_each(
        "PixelShuffle PixelUnshuffle Upsample UpsamplingBilinear2d UpsamplingNearest2d LocalResponseNorm"
    ),
}
"""The tensors of its own that a class of torch.nn computes with; none of them has children."""

_CONTAINERS = frozenset({"Sequential"})
_BLOCK = "conv1 bn1 relu conv2 bn2 downsample"
_STAGES = "layer1 layer2 layer3 layer4 avgpool fc"
CHILDREN = {
    "torch.nn.parallel.data_parallel.DataParallel": frozenset({"module"}),
    "torch.nn.parallel.distributed.DistributedDataParallel": frozenset({"module"}),
    **{
        f"torchvision.models.{path}": frozenset(children.split())
        for path, children in {
            "resnet.ResNet": f"conv1 bn1 relu maxpool {_STAGES}",
            "resnet.BasicBlock": _BLOCK,
            "resnet.Bottleneck": f"{_BLOCK} conv3 bn3",
            "vgg.VGG": "features avgpool classifier",
            "alexnet.AlexNet": "features avgpool classifier",
            "squeezenet.SqueezeNet": "features classifier",
            "densenet.DenseNet": "features classifier",
            "mobilenet.MobileNetV2": "features classifier",
            "mobilenetv2.MobileNetV2": "features classifier",
            "mobilenetv3.MobileNetV3": "features avgpool classifier",
            "efficientnet.EfficientNet": "features avgpool classifier",
            "convnext.ConvNeXt": "features avgpool classifier",
            "shufflenetv2.ShuffleNetV2": "conv1 maxpool stage2 stage3 stage4 conv5 fc",
            "mnasnet.MNASNet": "layers classifier",
            "regnet.RegNet": "stem trunk_output avgpool fc",
            "vision_transformer.VisionTransformer": "conv_proj encoder heads",
            "swin_transformer.SwinTransformer": "features norm permute avgpool flatten head",
        }.items()
    },
}
"""The children that a class's `forward` calls, where torch's libraries say so."""


def refuse_unused(
    path: str,
    tensors: Iterable[tuple[Key, object]],
    children: Iterable[tuple[Key, Call]],
    weighs: Callable[[Call], bool],
) -> None:
    """Raises Unsupported where a module of a known class has matrices, or children, that its `forward` never reads.

    Parameters
    ----------
    path : its class.
    tensors : what its tables hold, by name.
    children : its children, by name.
    weighs : whether a child holds matrices.
    """
    leaf = path.rpartition(".")[2] if path.startswith("torch.nn.") else ""
    if leaf in TENSORS or leaf in _CONTAINERS:
        own = TENSORS.get(leaf, frozenset())
        for name, node in tensors:
            if not _is_own(name, own) and is_matrix(node):
                raise Unsupported(
                    f"one of its {leaf} modules has a tensor {describe(name)}, with which it never computes"
                )
    known = CHILDREN.get(path) or (frozenset() if leaf in TENSORS else None)
    strange = (
        None
        if known is None
        else next((name for name, child in children if name not in known and weighs(child)), None)
    )
    if strange is not None:
        raise Unsupported(
            f"one of its {path} modules has a child {describe(strange)}, with which it never computes"
        )


def refuse_hidden(path: str, hidden: Iterable[tuple[Key, object]]) -> None:
    """Raises Unsupported where a layer of torch's computes with buffers that state_dict() leaves out."""
    leaf = path.rpartition(".")[2] if path.startswith("torch.nn.") else ""
    own = TENSORS.get(leaf, frozenset())
    name = next((name for name, _ in hidden if _is_own(name, own)), None)
    if name is not None:
        raise Unsupported(
            f"one of its {leaf} modules keeps its {describe(name)} in a buffer that is not persistent"
        )


def _is_own(name: Key, own: Set[str]) -> bool:
    """`weight` itself, or one of the parts that pruning and the norms of weights compute it from (`weight_orig`)."""
    return isinstance(name, str) and (name in own or any(name.startswith(f"{stem}_") for stem in own))


def is_matrix(node: object) -> bool:
    """Whether a tensor could be a layer's weights, by the sizes its call gives it."""
    shape = claimed_shape(node)
    return shape is not None and len(shape) > 1 and prod(shape) > LARGEST_AUXILIARY

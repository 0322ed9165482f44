"""The one place that imports torchvision, and builds its stock networks from scratch."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_MISSING_OPERATORS = ("nms", "qnms")
_WITH_AUX_HEADS = ("googlenet", "inception_v3")


@cache
def _declare_missing_operators() -> Any:
    """Declare the two operators a CUDA build of torchvision looks up beside a CPU build of torch.

    Only their signatures: detection networks stay unusable, classification ones never call them. The library
    object is cached because torch removes the declarations when it is collected.
    """
    import torch

    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in _MISSING_OPERATORS:
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(operator + signature)  # type: ignore[no-untyped-call]
    return library


@cache
def torchvision() -> ModuleType:
    """The torchvision module, importable even where its compiled operators do not match torch.

    Raises
    ------
    ImportError : torchvision is not installed.
    RuntimeError : the import fails for another reason than the missing operators.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    # What the failed import left behind would otherwise be taken for a complete module.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_missing_operators()
    return importlib.import_module("torchvision")


def build_network(architecture: str, num_classes: int, *, aux_heads: bool = False) -> nn.Module:
    """A stock torchvision classifier with fresh weights.

    Parameters
    ----------
    architecture : torchvision's name of a classification network, such as "resnet18".
    num_classes : outputs of the classification layer.
    aux_heads : whether googlenet and inception_v3 get their auxiliary heads (Round 2 trained without);
        no other network has any.

    Raises
    ------
    ValueError : torchvision knows no such network.
    """
    network: nn.Module = torchvision().models.get_model(
        architecture, weights=None, num_classes=num_classes, **_options(architecture, aux_heads)
    )
    return network


def _options(architecture: str, aux_heads: bool) -> dict[str, bool]:
    """Constructor options of the two networks that have auxiliary heads; none for the others.

    The initialisation (truncated normal) is asked for by name: left out, torchvision warns that its default
    will change.
    """
    if architecture not in _WITH_AUX_HEADS:
        return {}
    return {"aux_logits": aux_heads, "init_weights": True}

"""What observers, metrics and trainers keep beside a network changes nothing; what may be a part of its weights is a
doubt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from network_samples import checkpoint, entry_of, shapes_of, stored
from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.network import build

CLASSES = 6
Extra = Callable[[str, tuple[int, ...]], dict[str, tuple[int, ...]]]


def network(prefix: str = "", *, left_out: tuple[str, ...] = ()) -> list[StoredTensor]:
    shapes = shapes_of(entry_of("resnet18"), CLASSES)
    return [
        stored(prefix + name, np.broadcast_to(np.float32(0.5), shape))
        for name, shape in shapes.items()
        if name not in left_out
    ]


def doubts_of(source: Checkpoint) -> list[str]:
    return [finding.detail for finding in build(source).findings if finding.kind == "doubt"]


BESIDE: dict[str, Extra] = {
    "gradients": lambda name, shape: {f"{name}.grad": shape},
    "momentum": lambda name, shape: {f"{name}_momentum_buffer": shape},
    "how much each weight matters": lambda name, shape: {f"{name}_fisher": shape} if len(shape) == 4 else {},
    "scales of a quantiser": lambda name, shape: (
        {f"{name}_quant.scale": (shape[0], 1, 1, 1)} if len(shape) == 4 else {}
    ),
    "observers": lambda name, shape: (
        {
            f"{name.removesuffix('running_var')}activation_post_process.{leaf}": size
            for leaf, size in (("histogram", (2048,)), ("min_val", ()))
        }
        if name.endswith("running_var")
        else {}
    ),
    "a metric": lambda name, shape: {"val_confmat.confmat": (CLASSES, CLASSES)} if name == "fc.bias" else {},
}


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("prefix", ["", "net."])
@pytest.mark.parametrize("what", list(BESIDE))
def test_a_known_network_stays_known(what: str, prefix: str, ordered: bool) -> None:
    tensors = []
    for tensor in network(prefix):
        extras = BESIDE[what](tensor.name.removeprefix(prefix), tensor.shape)
        tensors += [tensor, *(stored(prefix + n, np.ones(s, np.float32)) for n, s in extras.items())]
    source = checkpoint(tensors, ordered=ordered)
    found = build(source)
    assert (found.architecture, found.num_classes, len(found.norms)) == ("resnet18", CLASSES, 20)
    assert doubts_of(source) == []


def test_a_layer_on_the_answers_is_no_metric() -> None:
    more = stored("last.weight", np.ones((CLASSES, CLASSES), np.float32))
    assert build(checkpoint([*network(), more])).architecture != "resnet18"


def test_a_tensor_called_after_a_weight_and_of_its_shape_is_a_doubt() -> None:
    delta = stored("fc.weight_delta", np.ones((CLASSES, 512), np.float32))
    assert doubts_of(checkpoint([*network(), delta])) == [
        "the network may add 'fc.weight_delta' to weights of that name"
    ]


def test_a_head_without_a_bias_is_no_folded_norm() -> None:
    assert doubts_of(checkpoint(network(left_out=("fc.bias",)))) == []
    folded = ("bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var")
    bias = stored("conv1.bias", np.ones(64, np.float32))
    (doubt,) = doubts_of(checkpoint([*network(left_out=folded), bias]))
    assert "batch norms are folded" in doubt


def test_norms_that_were_folded_are_a_doubt_beside_observers() -> None:
    """As torch.ao.quantization.prepare_fx leaves a network in eval mode."""
    tensors = []
    for number, tensor in enumerate(network()):
        if tensor.data.ndim > 1:
            watch = f"activation_post_process_{number}.histogram"
            bias = stored(tensor.name.replace("weight", "bias"), np.ones(len(tensor.data), np.float32))
            tensors += [tensor, bias, *(stored(f"{watch}{n}", np.ones(2048, np.float32)) for n in range(3))]
    (doubt,) = doubts_of(checkpoint(tensors))
    assert doubt == "a resnet18 without some norms or biases, as where batch norms are folded"

"""Small networks for tests, and the ways a network can be rewritten without changing what it computes."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.execution.vision import build_network
from weightfeat.network import build
from weightfeat.network.types import Network


def plain_cnn(classes: int = 7, seed: int = 0) -> nn.Module:
    """Three convolutions with BatchNorm and a linear head, weights and norms drawn at random."""
    torch.manual_seed(seed)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (inputs, outputs) in enumerate([(3, 12), (12, 20), (20, 24)]):
        layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, 3, bias=False)
        layers[f"bn{index}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{index}"] = nn.ReLU()
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(24, classes)
    return randomise_norms(nn.Sequential(layers))


def randomise_norms(module: nn.Module) -> nn.Module:
    """Give every BatchNorm the vectors of a trained one: at initialisation they are all zeros and ones."""
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight.uniform_(0.3, 1.5)
                norm.bias.normal_(0, 0.4)
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.2, 3.0)
    return module.eval()


def checkpoint_of(module: nn.Module) -> Checkpoint:
    """What reading the module's file would give, without a file."""
    tensors = tuple(
        StoredTensor(name, str(tensor.dtype).removeprefix("torch."), tensor.detach().clone().numpy())
        for name, tensor in module.state_dict().items()
    )
    return Checkpoint(Path("model.pt"), "state_dict", "0" * 64, tensors)


def network_of(module: nn.Module) -> Network:
    """The module as the digest sees it."""
    return build(checkpoint_of(module))


@torch.no_grad()
def permute_outputs(conv: nn.Module, norm: nn.Module | None, order: torch.Tensor) -> None:
    """Reorder a layer's output channels, with the norm that follows it."""
    conv.weight.copy_(conv.weight[order])
    if conv.bias is not None:
        conv.bias.copy_(conv.bias[order])
    for vector in () if norm is None else (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        vector.copy_(vector[order])


@torch.no_grad()
def permute_inputs(layer: nn.Module, order: torch.Tensor) -> None:
    """Reorder the input channels of a layer to match."""
    layer.weight.copy_(layer.weight[:, order])


def permute_cnn(module: nn.Sequential, seed: int = 1) -> nn.Module:
    """The same function as `plain_cnn`'s, every hidden channel elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    names = [("conv0", "bn0", "conv1"), ("conv1", "bn1", "conv2"), ("conv2", "bn2", "fc")]
    for layer, norm, reader in names:
        order = torch.randperm(len(module.get_submodule(layer).weight), generator=generator)
        permute_outputs(module.get_submodule(layer), module.get_submodule(norm), order)
        permute_inputs(module.get_submodule(reader), order)
    return module


def permute_resnet18(module: nn.Module, seed: int = 1) -> nn.Module:
    """The same function as a torchvision resnet18's: channels inside every block and along every stage moved."""
    generator = torch.Generator().manual_seed(seed)
    trunk = None
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        blocks = list(module.get_submodule(stage).children())
        width = len(blocks[0].conv1.weight)
        incoming = trunk
        changed = blocks[0].downsample is not None
        outgoing = torch.randperm(width, generator=generator) if changed or trunk is None else trunk
        if trunk is None:
            permute_outputs(module.conv1, module.bn1, outgoing)
            incoming = outgoing
        for index, block in enumerate(blocks):
            inner = torch.randperm(width, generator=generator)
            permute_outputs(block.conv1, block.bn1, inner)
            permute_inputs(block.conv2, inner)
            permute_inputs(block.conv1, incoming if index == 0 else outgoing)
            permute_outputs(block.conv2, block.bn2, outgoing)
            if block.downsample is not None:
                permute_inputs(block.downsample[0], incoming)
                permute_outputs(block.downsample[0], block.downsample[1], outgoing)
        trunk = outgoing
    permute_inputs(module.fc, trunk)
    return module


def seeded(architecture: str, classes: int, *, aux_heads: bool = False) -> nn.Module:
    """A stock network with seeded weights, without the time its own initialisation takes."""
    random = torch.Generator().manual_seed(1)
    with torch.device("meta"):
        network = build_network(architecture, classes, aux_heads=aux_heads)
    network = network.to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(7)
            elif name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.uniform_(0.5, 1.5, generator=random)
            else:
                tensor.normal_(0, 0.05, generator=random)
    return network.eval()

"""Network -> Digest: the only room that sees weights, and the last one that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from weightfeat.digest import alignment, channels, distribution, head, latents, spectrum
from weightfeat.digest.store import DigestStore
from weightfeat.digest.tensors import LayerTensors, on_device
from weightfeat.digest.types import Block, Digest
from weightfeat.digest.workers import workers
from weightfeat.errors import UnsupportedLayout
from weightfeat.network.types import Layer, Network

__all__ = ["VERSIONS", "Digest", "DigestStore", "choose_device", "compute"]

LAYERS_VERSION = 1
VERSIONS = {
    "layers": LAYERS_VERSION,
    "spectrum": spectrum.VERSION,
    "distribution": distribution.VERSION,
    "channels": channels.VERSION,
    "norms": channels.VERSION,
    "moments": channels.VERSION,
    "alignment": alignment.VERSION,
    "head": head.VERSION,
    "latents": latents.VERSION,
}


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one. Raises UnsupportedLayout for a device torch does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UnsupportedLayout(
            f"device not available ({type(error).__name__})",
            where=name,
            expected="auto, cpu, or a CUDA device torch can use",
            remedy="use --device auto",
        ) from error
    return device


def compute(network: Network, *, key: str, device: str = "auto", findings: Sequence[str] = ()) -> Digest:
    """Digest one network. `key` is the sha256 of its file; `findings` travel with the digest.

    The same network gives the same numbers to 1e-5 (of each array's own scale) on any device and thread count.
    """
    place = choose_device(device)
    layers = network.layers
    tensors = [on_device(layer, place) for layer in layers]
    with workers(place) as pool:
        answers = pool.submit(latents.latents, network)
        feeding = pool.submit(head.feed_gram, network, place)
        # The largest layer first: begun last, it would keep one worker busy while the others wait.
        order = sorted(range(len(layers)), key=lambda index: -layers[index].weight.size)
        pending = {index: pool.submit(_summary, tensors[index]) for index in order}
        summaries = [pending[index].result() for index in range(len(layers))]
        overlaps = [_overlap(layer, own, summaries) for layer, own in zip(layers, summaries, strict=True)]
        latent_block, k = answers.result(), feeding.result()
    feeds = network.head_feeds
    left = summaries[feeds[0].layer].spectrum.left if len(feeds) == 1 else None
    norms, moments = channels.norms(network.norms)
    with torch.inference_mode():
        head_block = head.head(network, k, left)
    blocks: dict[str, Block] = {
        "layers": _layer_table(layers),
        "spectrum": spectrum.block([s.spectrum for s in summaries]),
        "distribution": distribution.block([s.values for s in summaries]),
        "channels": {name: np.stack([s.channels[name] for s in summaries]) for name in summaries[0].channels},
        "norms": norms,
        "moments": moments,
        "alignment": alignment.block(overlaps),
        "head": head_block,
        "latents": latent_block,
    }
    return Digest(
        key=key,
        architecture=network.architecture,
        family=network.family,
        fingerprint=network.fingerprint,
        num_classes=network.num_classes,
        blocks=blocks,
        versions=dict(VERSIONS),
        findings=tuple(findings),
    )


@dataclass(frozen=True, eq=False)
class _LayerSummary:
    spectrum: spectrum.Spectrum
    values: tuple[distribution.Distribution, distribution.Distribution]
    channels: Block


def _summary(tensors: LayerTensors) -> _LayerSummary:
    """Everything that one layer gives by itself. Runs in a worker thread, whose inference mode is its own."""
    with torch.inference_mode():
        return _LayerSummary(
            spectrum.spectrum(tensors), distribution.distribution(tensors), channels.channels(tensors)
        )


def _overlap(layer: Layer, own: _LayerSummary, summaries: Sequence[_LayerSummary]) -> NDArray[np.float32]:
    previous = None if layer.previous is None else summaries[layer.previous].spectrum.left
    with torch.inference_mode():
        return alignment.overlap(previous, own.spectrum.right, layer.weight.shape[1])


def _layer_table(layers: Sequence[Layer]) -> Block:
    """What every per-layer array's rows are: name, kind, role, depth, pairing, shape (padded with 0) and groups."""
    shapes = np.zeros((len(layers), 4), np.int32)
    for row, layer in zip(shapes, layers, strict=True):
        shape = layer.weight.shape[:4]
        row[: len(shape)] = shape
    return {
        "name": np.array([layer.name for layer in layers]),
        "kind": np.array([layer.kind for layer in layers]),
        "role": np.array([layer.role for layer in layers]),
        "pairing": np.array([layer.pairing for layer in layers]),
        "depth": np.array([layer.depth for layer in layers], np.float32),
        "shape": shapes,
        "groups": np.array([layer.groups for layer in layers], np.int32),
        "previous": np.array(
            [-1 if layer.previous is None else layer.previous for layer in layers], np.int32
        ),
    }

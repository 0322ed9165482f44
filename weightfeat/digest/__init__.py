"""Network -> Digest: the only room that sees weights, and the last one that does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from weightfeat.digest import alignment, channels, distribution, head, latents, spectrum
from weightfeat.digest.store import DigestStore
from weightfeat.digest.tensors import on_device
from weightfeat.digest.types import Block, Digest
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
    spectra: list[spectrum.Spectrum] = []
    distributions: list[tuple[distribution.Distribution, distribution.Distribution]] = []
    rows: list[Block] = []
    overlaps = []
    directions: dict[int, Tensor | None] = {}
    with torch.inference_mode():
        for index, layer in enumerate(network.layers):
            tensors = on_device(layer, place)
            result = spectrum.spectrum(tensors)
            spectra.append(result)
            directions[index] = result.left
            distributions.append(distribution.distribution(tensors))
            rows.append(channels.channels(tensors))
            previous = None if layer.previous is None else directions.get(layer.previous)
            overlaps.append(alignment.overlap(previous, result.right, layer.weight.shape[1]))
        feeds = network.head_feeds
        left = directions.get(feeds[0].layer) if len(feeds) == 1 else None
        norms, moments = channels.norms(network.norms)
        blocks: dict[str, Block] = {
            "layers": _layer_table(network.layers),
            "spectrum": spectrum.block(spectra),
            "distribution": distribution.block(distributions),
            "channels": {name: np.stack([row[name] for row in rows]) for name in rows[0]},
            "norms": norms,
            "moments": moments,
            "alignment": alignment.block(overlaps),
            "head": head.head(network, place, left),
            "latents": latents.latents(network),
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

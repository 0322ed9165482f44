"""Network -> Digest: the only room that sees weights, and the last one that does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest import (
    alignment,
    channels,
    distribution,
    head,
    latents,
    layers,
    linalg,
    paths,
    spectrum,
)
from weightfeat.digest.layers import LayerSummary
from weightfeat.digest.place import choose_place
from weightfeat.digest.store import DigestStore
from weightfeat.digest.tensors import LayerTensors, at_place
from weightfeat.digest.types import Block, Digest
from weightfeat.digest.workers import workers
from weightfeat.network.types import Layer, Network

__all__ = ["VERSIONS", "Digest", "DigestStore", "choose_place", "compute"]

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
    "paths": paths.VERSION,
}


def compute(
    network: Network, *, key: str, device: str = "auto", threads: int = 0, findings: Sequence[str] = ()
) -> Digest:
    """Digest one network. `key` is the sha256 of its file; `findings` travel with the digest.

    `device` is what `choose_place` takes, `threads` how many to use on a processor (0: one a core). The same network
    gives the same numbers to 1e-5 (of each array's own scale) on any device, and the same bytes on any thread count.
    """
    place = choose_place(device)
    tensors = [at_place(layer, place) for layer in network.layers]
    feeding = {feed.layer for feed in network.head_feeds}
    if place.is_host and any(map(layers.is_large, tensors)):
        linalg.load_single_precision()
    with workers(place, threads) as pool:
        work = layers.LayerWork(tensors, feeding, pool)
        latent_block = pool.submit(latents.latents, network)
        paths_block = pool.submit(paths.paths, network, place)
        first, rest = _order(tensors, feeding)
        work.begin(first)
        head_block = pool.submit(
            lambda: head.head(network, {index: work.result(index) for index in feeding}, place)
        )
        work.begin(rest)
        summaries = [work.result(index) for index in range(len(tensors))]
        overlaps = [_overlap(layer, summaries, index) for index, layer in enumerate(network.layers)]
    norms, moments = channels.norms(network.norms)
    blocks: dict[str, Block] = {
        "layers": _layer_table(network.layers),
        "spectrum": spectrum.block([s.spectrum for s in summaries]),
        "distribution": distribution.block([s.values for s in summaries]),
        "channels": channels.block([s.channels for s in summaries]),
        "norms": norms,
        "moments": moments,
        "alignment": alignment.block(overlaps),
        "head": head_block.result(),
        "latents": latent_block.result(),
        "paths": paths_block.result(),
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


def _order(tensors: Sequence[LayerTensors], feeding: Collection[int]) -> tuple[list[int], list[int]]:
    """What others wait for, from small to large: all workers make the panels of one large Gram matrix while a worker
    finds the eigenvalues of the one before. Then the rest, from large to small, so that the last worker ends soon."""
    by_size = sorted(range(len(tensors)), key=lambda index: tensors[index].layer.weight.size)
    first = [index for index in by_size if index in feeding or layers.is_large(tensors[index])]
    return first, [index for index in reversed(by_size) if index not in first]


def _overlap(layer: Layer, summaries: Sequence[LayerSummary], index: int) -> NDArray[np.float32]:
    previous = None if layer.previous is None else summaries[layer.previous].spectrum.left
    return alignment.overlap(previous, summaries[index].spectrum.right, layer.weight.shape[1])


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

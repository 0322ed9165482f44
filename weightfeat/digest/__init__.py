"""Network -> Digest: the only room that sees weights, and the last one that does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest import (
    alignment,
    channels,
    distribution,
    head,
    latents,
    layers,
    places,
    spectrum,
)
from weightfeat.digest.place import HOST, Place, choose_place
from weightfeat.digest.store import DigestStore
from weightfeat.digest.tensors import LayerTensors, at_place
from weightfeat.digest.types import Block, Digest
from weightfeat.digest.workers import workers
from weightfeat.errors import WeightfeatError, first_line
from weightfeat.network.types import Layer, Network

__all__ = ["VERSIONS", "Digest", "DigestStore", "choose_place", "compute"]

logger = logging.getLogger(__name__)

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
    "places": places.VERSION,
}


def compute(
    network: Network,
    *,
    key: str,
    device: str = "auto",
    threads: int = 0,
    findings: Sequence[str] = (),
    blocks: Collection[str] | None = None,
) -> Digest:
    """Digest one network. `key` is the sha256 of its file; `findings` travel with the digest.

    `device` is what `choose_place` takes, `threads` how many to use on a processor (0: one a core). The same network
    gives the same numbers to 1e-5 (of each array's own scale) on any device, the same bytes on any thread count.
    Without a block that a GPU makes faster `auto` is the processor, and torch is not imported. A GPU that fails (too
    little memory, say) costs a warning, and the digest is made on the processor.

    `blocks` names what is wanted of `VERSIONS`; None: everything. What a block holds does not depend on which others
    are made with it, but for `left` of `head`.
    """
    wanted = frozenset(VERSIONS if blocks is None else {"layers", *blocks})
    if unknown := sorted(wanted - VERSIONS.keys()):
        raise ValueError(f"unknown block {unknown[0]!r}; there are {', '.join(VERSIONS)}")
    gains = not layers.BLOCKS.isdisjoint(wanted)
    place = choose_place(device) if gains or device != "auto" else HOST
    made = None if place.is_host else _made_on_gpu(network, wanted, place, key)
    if made is None:
        place, made = HOST, _made(network, wanted, HOST, threads)
    logger.debug("digest %s made on %s", key[:16], place.described())
    return Digest(
        key=key,
        architecture=network.architecture,
        family=network.family,
        fingerprint=network.fingerprint,
        num_classes=network.num_classes,
        blocks=made,
        versions={name: version for name, version in VERSIONS.items() if name in made},
        findings=tuple(findings),
    )


def _made_on_gpu(
    network: Network, wanted: Collection[str], place: Place, key: str
) -> dict[str, Block] | None:
    """The blocks wanted; None, with a warning, where the GPU failed: a fault of the file a processor finds too."""
    what = "the GPU"
    try:
        what = place.described()  # first: a GPU that has failed may not even tell its name
        return _made(network, wanted, place)
    except WeightfeatError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {first_line(str(error))}"
        logger.warning("digest %s: %s failed (%s); it is made on the processor", key[:16], what, why)
        return None


def _made(network: Network, wanted: Collection[str], place: Place, threads: int = 0) -> dict[str, Block]:
    """The blocks wanted, in the order of `VERSIONS`."""
    every = range(len(network.layers))
    feeding = {feed.layer for feed in network.head_feeds} if "head" in wanted else set()
    at_work = feeding if layers.BLOCKS.isdisjoint(wanted) else every
    tensors = {index: at_place(network.layers[index], place) for index in at_work}
    with workers(place, threads) as pool:
        work = layers.LayerWork(tensors, feeding, wanted, pool)
        others = {
            name: pool.submit(make, network, place) for name, make in _OF_NETWORK.items() if name in wanted
        }
        first, rest = _order(tensors, feeding)
        work.begin(first)
        if "head" in wanted:
            others["head"] = pool.submit(
                lambda: head.head(network, {index: work.feeding(index) for index in feeding}, place)
            )
        if "latents" in wanted:
            others["latents"] = latents.begin(network, pool)
        work.begin(rest)
        made = {name: put(network, work) for name, put in _OF_LAYERS.items() if name in wanted}
    made |= {name: block.result() for name, block in others.items()}
    return {name: made[name] for name in VERSIONS if name in made}


def _order(tensors: Mapping[int, LayerTensors], feeding: Collection[int]) -> tuple[list[int], list[int]]:
    """What others wait for, from small to large: all workers make the panels of one large Gram matrix while a worker
    finds the eigenvalues of the one before. Then the rest, from large to small, so that the last worker ends soon."""
    by_size = sorted(tensors, key=lambda index: tensors[index].layer.weight.size)
    first = [index for index in by_size if index in feeding or layers.is_large(tensors[index])]
    return first, [index for index in reversed(by_size) if index not in first]


def _alignment(network: Network, work: layers.LayerWork) -> Block:
    def overlap(index: int, layer: Layer) -> NDArray[np.float32]:
        previous = None if layer.previous is None else work.spectrum(layer.previous).left
        return alignment.overlap(previous, work.spectrum(index).right, layer.weight.shape[1])

    return alignment.block([overlap(index, layer) for index, layer in enumerate(network.layers)])


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


_OF_NETWORK: dict[str, Callable[[Network, Place], Block]] = {
    "layers": lambda network, _: _layer_table(network.layers),
    "norms": lambda network, _: channels.norms(network.norms),
    "moments": lambda network, _: channels.moments(network.norms),
    "places": lambda network, _: places.places(network),
}
"""Blocks that are made of the network as a whole."""
_OF_LAYERS: dict[str, Callable[[Network, layers.LayerWork], Block]] = {
    "spectrum": lambda network, work: spectrum.block([work.spectrum(i) for i in range(len(network.layers))]),
    "distribution": lambda network, work: distribution.block(
        [work.values(i) for i in range(len(network.layers))]
    ),
    "channels": lambda network, work: channels.block([work.channels(i) for i in range(len(network.layers))]),
    "alignment": _alignment,
}
"""Blocks that are put together from what every layer gives."""

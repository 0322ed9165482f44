"""A network is asked: its answers on images made here, plain and under the looks that triggers have.

Small networks alone, whose shapes say how to run them; what runs is the package's own code. torch is imported where a
network is asked, not before.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from weightfeat.network.layouts import layouts, perceptron_inputs
from weightfeat.network.residual import residual_blocks

if TYPE_CHECKING:
    from weightfeat.digest.types import Block
    from weightfeat.network.types import Network

logger = logging.getLogger(__name__)

__all__ = ["PRODUCTS", "VERSION", "asked", "can_ask"]

PRODUCTS = 3e11
"""Multiplications that asking a network costs at most, where nothing else is said: some seconds of one core."""
VERSION = 2
_FEWEST_RUNS = 2000
"""Runs of one image each that the smallest bank takes: a network whose weights alone, used once a run, are too many
for that is not looked at further."""


def can_ask(network: Network) -> bool:
    """Whether shapes say how to run it."""
    if network.layers[network.head].kind != "linear":
        return False
    return bool(residual_blocks(network) or perceptron_inputs(network) or layouts(network))


def asked(network: Network, products: float = PRODUCTS, side: int | None = None) -> Block | None:
    """The block `probes` (`answers`), for at most so many multiplications; None where the network cannot be asked: no
    code here is for it, it is too dear, what it answers is no number, or torch is not installed.

    `side` is that of its images in pixels, where that is known; else the most usual of those that its shapes allow.
    """
    weights = sum(layer.weight.size for layer in network.layers)
    if weights * _FEWEST_RUNS > products or not can_ask(network):
        return None
    try:
        from weightfeat.probes.answers import ask
    except ImportError as error:  # a scan does without torch
        logger.info("a network is judged by its weights alone: %s", error)
        return None
    return ask(network, products, side)

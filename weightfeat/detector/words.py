"""What is said in a word, from two shares that were measured rather than believed.

A word is a promise about clean networks: at most one in twenty of them is called trojaned, one in five trojaned or
suspicious. No word says that a network is safe: where nothing was found, nothing was found.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["ALARM", "Word", "word_of"]

Word = Literal["trojaned", "suspicious", "no sign found", "cannot tell"]
ALARM, WARNING = 0.05, 0.2
"""Largest shares of clean networks, at least as suspicious, at which a network is called trojaned, suspicious."""
LEAST_PROBABILITY = 0.5
"""A network more likely clean than not is not called trojaned, however rare its like among clean ones."""
LEAST_POWER = 0.6
"""ROC-AUC, on the like of a network, below which silence means nothing."""


def word_of(
    probability: float, clean_share: float, power: float, fewest: int, *, doubted: bool = False
) -> Word:
    """The word for a network.

    Parameters
    ----------
    probability, clean_share : of a trojan; of clean networks at least as suspicious.
    power : ROC-AUC measured on networks of its kind.
    fewest : how many clean networks the share was told from; it cannot be smaller than 1 / (1 + fewest).
    doubted : whether what was read may not be the network that computes.
    """
    if doubted or (1 + fewest) * ALARM < 1 or power < LEAST_POWER:
        return "cannot tell"
    if clean_share <= ALARM and probability >= LEAST_PROBABILITY:
        return "trojaned"
    return "suspicious" if clean_share <= WARNING else "no sign found"

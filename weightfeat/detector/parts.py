"""Values taken out of a stored document and its arrays, none of them believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.features.summaries import Array

__all__ = ["Taker", "number", "words"]


class Taker:
    """Takes float64 arrays of the shape that is due out of an npz's tables; ValueError where they are not so."""

    def __init__(self, tables: Mapping[str, NDArray[Any]]) -> None:
        self.tables = tables

    def __call__(
        self, name: str, shape: tuple[int, ...], *, lowest: float | None = None, finite: bool = True
    ) -> Array:
        array = self.tables[name]
        if array.dtype != np.float64 or array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape} of {array.dtype}, not {shape} of float64")
        if (finite and not np.isfinite(array).all()) or (lowest is not None and (array < lowest).any()):
            raise ValueError(f"{name} holds a value out of bounds")
        return array

    def under(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays whose name begins so, without that beginning."""
        found = {name: array for name, array in self.tables.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): array for name, array in found.items()}


def words(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of distinct names."""
    found = document[key]
    if (
        not isinstance(found, list)
        or not all(isinstance(word, str) for word in found)
        or len(set(found)) < len(found)
    ):
        raise ValueError(f"{key} is not a list of distinct names")
    return tuple(found)


def number(value: Any, lowest: float = -np.inf) -> float:
    """A finite number that is at least `lowest`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value < np.inf:
        raise ValueError(f"{value!r} is not a number in bounds")
    return float(value)

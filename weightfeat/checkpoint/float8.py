"""The float8 types: 256 values each, one table a type (OCP 8-bit floating point specification, revision 1.0)."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class _Layout(NamedTuple):
    """Bits of the exponent and of the fraction, the exponent's bias, and what the top and negative zero stand for."""

    exponent: int
    fraction: int
    bias: int
    infinities: bool
    unsigned_zero: bool


# "fn": no infinities, only the largest code is NaN; "fnuz": negative zero's code is the only NaN.
FLOAT8 = {
    "float8_e4m3fn": _Layout(4, 3, 7, infinities=False, unsigned_zero=False),
    "float8_e5m2": _Layout(5, 2, 15, infinities=True, unsigned_zero=False),
    "float8_e4m3fnuz": _Layout(4, 3, 8, infinities=False, unsigned_zero=True),
    "float8_e5m2fnuz": _Layout(5, 2, 16, infinities=False, unsigned_zero=True),
}
"""torch's names to their layouts; a sign bit stands in front of each."""


@cache
def float8_values(dtype: str) -> NDArray[np.float32]:
    """The value of each of a type's 256 codes, (256,).

    >>> float8_values("float8_e4m3fn")[[0x38, 0xB8, 0x7E]].tolist()
    [1.0, -1.0, 448.0]
    """
    layout = FLOAT8[dtype]
    codes = np.arange(128)
    exponent, fraction = codes >> layout.fraction, codes & ((1 << layout.fraction) - 1)
    shown = fraction / (1 << layout.fraction)
    normal = np.ldexp(1 + shown, exponent - layout.bias)
    positive = np.where(exponent == 0, np.ldexp(shown, 1 - layout.bias), normal)
    top = (1 << layout.exponent) - 1
    if layout.infinities:
        positive[exponent == top] = np.where(fraction[exponent == top] == 0, np.inf, np.nan)
    elif not layout.unsigned_zero:
        positive[-1] = np.nan
    values = np.concatenate([positive, -positive]).astype(np.float32)
    if layout.unsigned_zero:
        values[128] = np.nan
    values.setflags(write=False)
    return values

"""The one LAPACK routine that scipy lends Python only together with the interpreter's lock: other layers would wait.

`scipy.linalg.cython_lapack` publishes the addresses of LAPACK's routines for compiled code. Called through ctypes,
they leave the lock alone.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def band_eigenvalues(band: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ascending eigenvalues (k,) of a symmetric matrix (k, k) whose d-th lower diagonal is row d of `band` (w + 1, k).

    What `scipy.linalg.eigvals_banded(band, lower=True)` gives, to the bit. Raises LinAlgError where LAPACK's
    iteration does not converge.
    """
    diagonals, side = band.shape
    overwritten = np.array(band, order="F")
    values, vectors, work = np.empty(side), np.empty(1), np.empty(2 * side)
    integers, info = (ctypes.c_int * 1)(), ctypes.c_int(0)
    _dsbevd()(
        b"N", b"L", ctypes.c_int(side), ctypes.c_int(diagonals - 1), overwritten, ctypes.c_int(diagonals),
        values, vectors, ctypes.c_int(1), work, ctypes.c_int(len(work)), integers, ctypes.c_int(1), info,
    )  # fmt: skip
    if info.value != 0:
        raise np.linalg.LinAlgError(
            f"no eigenvalues of a band matrix of side {side}: dsbevd gives {info.value}"
        )
    return values


@cache
def _dsbevd() -> Any:
    """DSBEVD(JOBZ, UPLO, N, KD, AB, LDAB, W, Z, LDZ, WORK, LWORK, IWORK, LIWORK, INFO) of scipy's LAPACK."""
    from scipy.linalg import cython_lapack

    capsule = cython_lapack.__pyx_capi__["dsbevd"]
    name, address = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.argtypes, name.restype = [ctypes.py_object], ctypes.c_char_p
    address.argtypes, address.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    text, integer = ctypes.c_char_p, ctypes.POINTER(ctypes.c_int)
    doubles = np.ctypeslib.ndpointer(np.float64, flags="F_CONTIGUOUS")
    routine = ctypes.CFUNCTYPE(
        None, text, text, integer, integer, doubles, integer, doubles, doubles, integer, doubles, integer, integer,
        integer, integer,
    )  # fmt: skip
    return routine(address(capsule, name(capsule)))

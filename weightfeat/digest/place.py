"""Where a digest is computed: numpy on a processor, torch on a GPU, by one code in the array API standard.

Importing torch takes longer than digesting most networks, so a processor never does. The standard (data-apis.org) is
what both libraries agree on; `array_api_compat` smooths over where torch does not quite.
"""

from __future__ import annotations

import ctypes
import logging
import os
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from weightfeat.errors import UnsupportedLayout, first_line, needs

if TYPE_CHECKING:
    import torch

AnyArray: TypeAlias = Any
"""A numpy array, or a torch tensor on the place's device."""
_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
_HIDDEN = ("", "-1")
"""Values of CUDA_VISIBLE_DEVICES by which a user says: no GPU."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """`xp` is the namespace of the array library; `device` what that library calls the device."""

    xp: Any
    device: Any

    @property
    def is_host(self) -> bool:
        """Whether arrays are numpy's own."""
        return self.xp is np

    def described(self) -> str:
        """What it is, for the log: `the processor`, or a GPU by its number and name."""
        if self.is_host:
            return "the processor"
        named = f" ({self.xp.cuda.get_device_name(self.device)})" if self.device.type == "cuda" else ""
        return f"{self.device}{named}"

    def upload(self, array: NDArray[Any]) -> AnyArray:
        """The array there, in C order; on the processor a mapped, read-only array's own memory.

        Nothing in the digest writes in place into what was uploaded.
        """
        contiguous = np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED"])
        if self.is_host:
            return contiguous
        with warnings.catch_warnings():
            # torch warns of memory it may not write to; a copy of it first would be a second pass over the file.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return self.xp.asarray(contiguous, device=self.device)


HOST = Place(np, "cpu")


def choose_place(name: str = "auto") -> Place:
    """`auto` is the GPU where torch can use one, else the processor; `torch` runs the GPU's code on the processor.

    A driver without a GPU that works costs `auto` one warning a process.

    Raises UnsupportedLayout for a device torch does not have or cannot compute on, NotInstalled for any but a processor
    without torch.
    """
    if name == "cpu":
        return HOST
    if name == "auto":
        return _gpu() or HOST
    return _tried("cpu" if name == "torch" else name)


@cache
def _gpu() -> Place | None:
    """The GPU, if there is one that computes. Asked once: the answer takes torch's import, and a refusal stays."""
    if not _may_have_gpu():
        return None
    try:
        return _tried("cuda")
    except Exception as error:  # a torch that lacks a library of CUDA's fails in ways of its own
        why = error.what if isinstance(error, UnsupportedLayout) else f"{type(error).__name__}: {error}"
        logger.warning("no GPU is used, though there is a driver: %s", first_line(why))
        return None


def _tried(name: str) -> Place:
    """Torch on a device on which it has multiplied and solved: each takes another of CUDA's libraries."""
    device = torch_device(name)
    from array_api_compat import torch as library

    xp: Any = library
    try:
        square = xp.ones((2, 2), dtype=xp.float64, device=device)
        float(xp.linalg.eigvalsh(square @ square)[0])
    except RuntimeError as error:
        raise _unavailable(name, error) from error
    return Place(xp, device)


def torch_device(name: str = "auto") -> torch.device:
    """A device for whatever runs on torch; `auto` is CUDA where there is one.

    Raises UnsupportedLayout for a device torch does not have, NotInstalled without torch.
    """
    with needs("gpu", f"device {name}"):
        import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what it then raises
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise _unavailable(name, error) from error
    return device


def _unavailable(name: str, error: Exception) -> UnsupportedLayout:
    return UnsupportedLayout(
        f"device not available ({type(error).__name__}: {first_line(str(error))})",
        where=name,
        expected="auto, cpu, or a CUDA device torch can use",
        remedy="use --device auto",
    )


def namespace(array: AnyArray) -> Any:
    """The namespace of the library an array belongs to."""
    if isinstance(array, np.ndarray):
        return np
    from array_api_compat import torch as xp

    return xp


def host(array: AnyArray) -> NDArray[Any]:
    """The array as numpy's, copied from a GPU."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.cpu().numpy())


def cores() -> int:
    """Processors this process may use, or fewer where OMP_NUM_THREADS says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(asked)) if asked.isdigit() and int(asked) > 0 else allowed


def _may_have_gpu() -> bool:
    """Whether a driver and torch are installed and not hidden: asking torch itself would mean importing it."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in _HIDDEN:
        return False
    for driver in _DRIVERS:
        try:
            ctypes.CDLL(driver)
        except OSError:
            continue
        return find_spec("torch") is not None
    return False

"""Where a digest is computed: numpy on a processor, torch on a GPU, by one code in the array API standard.

Importing torch takes longer than digesting most networks, so a processor never does. The standard (data-apis.org) is
what both libraries agree on; `array_api_compat` smooths over where torch does not quite.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from weightfeat.errors import UnsupportedLayout, needs

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Any
"""A numpy array, or a torch tensor on the place's device."""
_DRIVERS = ("libcuda.so.1", "nvcuda.dll")


@dataclass(frozen=True)
class Place:
    """`xp` is the namespace of the array library; `device` what that library calls the device."""

    xp: Any
    device: Any

    @property
    def is_host(self) -> bool:
        """Whether arrays are numpy's own."""
        return self.xp is np

    def upload(self, array: NDArray[Any]) -> Array:
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

    Raises UnsupportedLayout for a device torch does not have, NotInstalled for any but a processor without torch.
    """
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return HOST
    device = torch_device("cpu" if name == "torch" else name)
    if name == "auto" and device.type == "cpu":
        return HOST
    from array_api_compat import torch as xp

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
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UnsupportedLayout(
            f"device not available ({type(error).__name__})",
            where=name,
            expected="auto, cpu, or a CUDA device torch can use",
            remedy="use --device auto",
        ) from error
    return device


def namespace(array: Array) -> Any:
    """The namespace of the library an array belongs to."""
    if isinstance(array, np.ndarray):
        return np
    from array_api_compat import torch as xp

    return xp


def host(array: Array) -> NDArray[Any]:
    """The array as numpy's, copied from a GPU."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.cpu().numpy())


def cores() -> int:
    """Processors this process may use, or fewer where OMP_NUM_THREADS says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(asked)) if asked.isdigit() and int(asked) > 0 else allowed


def _may_have_gpu() -> bool:
    """Whether a driver and torch are installed: asking torch itself would mean importing it."""
    for driver in _DRIVERS:
        try:
            ctypes.CDLL(driver)
        except OSError:
            continue
        return find_spec("torch") is not None
    return False

"""A folder given as a model: a distributed checkpoint is read, what else is known is named with what to do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from weightfeat.checkpoint.adapted import holds_adapter
from weightfeat.checkpoint.beside import Beside
from weightfeat.checkpoint.distributed import METADATA, PART, read_distributed
from weightfeat.checkpoint.faults import Fault, Malformed, Unreadable, Unsupported
from weightfeat.checkpoint.formats import Contents, found_contents
from weightfeat.checkpoint.strangers import ARRAYS, CONVERT

_MOST_FILES = 10_000
_SHOWN = 4
_MODELS = (
    ".pt",
    ".pth",
    ".bin",
    ".ckpt",
    ".safetensors",
    ".h5",
    ".hdf5",
    ".keras",
    ".onnx",
    ".pt2",
    ".npz",
    ".tar",
)

_GIVE = "give the path of a model file"

# Names that must all be there, what the folder then is, and what to do.
_LAYOUTS: tuple[tuple[frozenset[str], str, str], ...] = (
    (
        frozenset({"saved_model.pb"}),
        "a TensorFlow SavedModel, which is not read",
        "load it in Keras and save it as .keras",
    ),
    (frozenset({"manifest.ocdbt"}), "an Orbax checkpoint, which is not read", ARRAYS),
    (frozenset({"Manifest.json", "Data"}), "a CoreML package, which is not read", CONVERT),
    (
        frozenset({"config.json", "model.weights.h5"}),
        "a .keras archive taken apart",
        "zip its files again without compression (zip -0 -r model.keras .)",
    ),
    (
        frozenset({"data.pkl", "data"}),
        "an archive of torch.save's taken apart, as some browsers do",
        "fetch it again, or zip the folder itself without compression (zip -0 -r model.pt FOLDER)",
    ),
    (frozenset({"checkpoint"}), "a folder of TensorFlow or Flax checkpoints, which are not read", ARRAYS),
)


@dataclass(frozen=True)
class Folder:
    """A folder's contents, and the bytes of the file that describes them."""

    contents: Contents
    described: memoryview


def is_network(names: Iterable[str]) -> bool:
    """Whether a folder that holds these names is one network, if only of a format that is not read.

    >>> is_network([".metadata", "__0_0.distcp"]), is_network(["saved_model.pb", "variables"]), is_network(["a.pt"])
    (True, True, False)
    """
    held = set(names)
    if METADATA in held and any(name.endswith(PART) for name in held):
        return True
    if holds_adapter(held):
        return True
    alone = not any(name.lower().endswith(_MODELS) for name in held)
    return alone and any(needed <= held for needed, _, _ in _LAYOUTS)


def read_folder(path: Path) -> Folder:
    """The network of a distributed checkpoint's folder.

    Raises Unsupported for a folder of another format and Malformed for one of none, saying what it is or which of its
    files may be meant; as `read_distributed` besides.
    """
    names = _names(path)
    if METADATA not in names or not any(name.endswith(PART) for name in names):
        # Browsers unpack into a folder within the one they make.
        inner = path / names[0] if len(names) == 1 else path
        raise _fault_of(_names(inner) if inner.is_dir() else names)
    beside = Beside(path)
    try:
        described = beside.whole(METADATA)
    except Unreadable as fault:
        raise Unsupported(str(fault)) from None
    found = read_distributed(described, beside)
    others = tuple(part for name, part in beside.files.items() if name != METADATA)
    return Folder(found_contents("torch-distributed", found, others), described)


def _names(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MOST_FILES + 1), strict=False)]
    except OSError as error:
        raise Malformed(f"is a directory that cannot be listed ({error.strerror})", _GIVE) from None
    if len(names) > _MOST_FILES:
        raise Malformed(f"is a directory of more than {_MOST_FILES:,} files", _GIVE)
    return sorted(names)


def _fault_of(names: Iterable[str]) -> Fault:
    """What a folder of these files is, or which of them may be the model."""
    held = set(names)
    for needed, what, remedy in _LAYOUTS:
        if needed <= held:
            return Unsupported(f"is a directory: {what}", remedy)
    models = [name for name in names if name.lower().endswith(_MODELS)]
    if not models:
        return Malformed("is a directory without a model file", _GIVE)
    shown = ", ".join(repr(name) for name in models[:_SHOWN]) + (", ..." if len(models) > _SHOWN else "")
    return Malformed(f"is a directory of model files ({shown})", "give the path of one of them")

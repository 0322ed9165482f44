"""Which of the formats that are zip archives one is, told by the names of its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from weightfeat.checkpoint.faults import Abuse, Unreadable, Unsupported
from weightfeat.checkpoint.zip_archive import STORED, Record

Kind = Literal["torch", "torchscript", "keras", "numpy", "export", "old-export", "other"]

KERAS_CONFIG, KERAS_WEIGHTS = "config.json", "model.weights.h5"
KERAS_ARRAYS = "model.weights.npz"  # what Keras writes in its place where h5py is absent
EXPORT_MARK, OLD_PROGRAM = "archive_format", "serialized_exported_program.json"
_PACKAGE_MARK = ".data/extern_modules"
_STATE_DICT = "load it where it is trusted and save its state_dict with torch.save"
_EXPORTED = frozenset({EXPORT_MARK, OLD_PROGRAM})
_TORCH_PICKLES = frozenset({"data.pkl", "constants.pkl"})


def kind_of(records: Sequence[Record]) -> Kind:
    """The kind of an archive; "other" is none of the formats: an archive of files.

    What torch.load might take for its own is torch's, whatever else lies in it: its reader refuses the rest. Raises
    Abuse for one that torch.export.load would take too, Unsupported for torch.package's.
    """
    names = {record.name for record in records}
    below = {record.name.partition("/")[2] for record in records} | names
    if _TORCH_PICKLES & {name.lower() for name in below}:
        if _EXPORTED & below:
            raise Abuse("it is an archive of torch.save's and of torch.export's at once")
        return "torch"
    if KERAS_CONFIG in names and names & {KERAS_WEIGHTS, KERAS_ARRAYS}:
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "numpy"
    if EXPORT_MARK in below:
        return "export"
    if _PACKAGE_MARK in below:
        raise Unsupported("it is a torch.package archive, whose code would be run to load it", _STATE_DICT)
    return "old-export" if OLD_PROGRAM in names else "other"


class Records:
    """The records of an archive by their whole paths; raises Abuse where two names are one but for their case."""

    def __init__(self, data: memoryview, records: Sequence[Record]) -> None:
        self._data = data
        self.by_name = {record.name: record for record in records}
        if len({name.lower() for name in self.by_name}) < len(records):
            raise Abuse("the archive has two records of one name")

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def read(self, name: str) -> memoryview:
        """The bytes of a stored record; raises Unreadable where it is absent or compressed."""
        record = self.by_name.get(name)
        if record is None:
            raise Unreadable(f"record {name} is not in the archive")
        if record.method != STORED:
            raise Unreadable(f"record {name} is compressed")
        return self.packed(record)

    def packed(self, record: Record) -> memoryview:
        """A record's bytes as they lie in the archive."""
        return self._data[record.start : record.start + record.size]

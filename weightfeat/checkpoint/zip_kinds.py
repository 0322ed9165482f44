"""Which of the formats that are zip archives one is, told by the names of its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from weightfeat.checkpoint.faults import Abuse, Unreadable
from weightfeat.checkpoint.zip_archive import STORED, Record

Kind = Literal["torch", "torchscript", "keras", "numpy", "export", "old-export", "other"]

KERAS_CONFIG, KERAS_WEIGHTS = "config.json", "model.weights.h5"
KERAS_ARRAYS = "model.weights.npz"  # what Keras writes in its place where h5py is absent
OLD_PROGRAM = "serialized_exported_program.json"
_TORCH_PICKLES = frozenset({"data.pkl", "constants.pkl"})


def kind_of(records: Sequence[Record]) -> Kind:
    """The kind of an archive; "other" is none of the formats: an archive of files.

    What torch.load might take for its own is torch's, whatever else lies in it: its reader refuses the rest.
    """
    names = {record.name for record in records}
    below = {record.name.partition("/")[2] for record in records} | names
    if _TORCH_PICKLES & {name.lower() for name in below}:
        return "torch"
    if KERAS_CONFIG in names and names & {KERAS_WEIGHTS, KERAS_ARRAYS}:
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "numpy"
    if "archive_format" in below:
        return "export"
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

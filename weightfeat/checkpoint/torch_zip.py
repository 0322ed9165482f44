"""torch.save's layout since 1.6: a zip archive of data.pkl and one stored record a storage."""

from __future__ import annotations

from weightfeat.checkpoint.faults import Abuse, Unreadable, Unsupported
from weightfeat.checkpoint.legacy import Opened, open_nested
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.pickle_machine import run
from weightfeat.checkpoint.storages import Declaration, TensorReader, declarations
from weightfeat.checkpoint.types import Finding
from weightfeat.checkpoint.zip_archive import ZipArchive

_MOST_NOTES = 6
_PICKLES = frozenset({"data.pkl", "constants.pkl", "traced_inputs.pkl"})


def open_zip(
    archive: ZipArchive, trace: Trace, *, pickle: str = "data.pkl", folder: str = "data"
) -> tuple[Opened, list[Finding]]:
    """Run one pickle of an archive; its storages are the records `folder`/key, each of exactly the declared size."""
    if pickle not in archive:
        raise Unsupported(f"the archive has no {pickle}: it is not one of torch.save's")
    try:
        data = archive.read(pickle)
    except Unreadable as fault:
        raise Unsupported(str(fault)) from None
    findings = []
    if not archive.crc_agrees(pickle):
        findings.append(Finding("note", f"the checksum of {pickle} is wrong; torch does not check it"))
    strangers = [name for name in archive.records if name.endswith(".pkl") and name not in _PICKLES]
    if strangers:
        findings.append(
            Finding("note", f"{len(strangers)} pickles are not torch.save's: {describe(strangers[0])}")
        )
    root, end = run(data, 0, trace)
    if end != len(data):
        findings.append(Finding("note", f"{len(data) - end} bytes follow the end of {pickle}"))
    declarations(trace)  # refuses contradictions among them
    checked: set[str] = set()

    def locate(declared: Declaration) -> memoryview:
        name = f"{folder}/{declared.key}"
        raw = archive.read(name)
        if len(raw) != declared.nbytes:
            raise Unreadable(
                f"record {folder}/{describe(declared.key)} has {len(raw)} bytes, not {declared.nbytes}"
            )
        if name not in checked and not archive.crc_agrees(name) and len(findings) < _MOST_NOTES:
            findings.append(
                Finding("note", f"the checksum of {describe(name)} is wrong; torch does not check it")
            )
        checked.add(name)
        return raw

    reader = TensorReader(locate, big_endian=_is_big_endian(archive), nested=open_nested(trace))
    return Opened(root, reader, end), findings


def _is_big_endian(archive: ZipArchive) -> bool:
    """Archives without the record are older than it, and little-endian.

    Raises Abuse for a record of that name but for its case, which torch would find and other readers not.
    """
    if "byteorder" not in archive:
        if any(name.lower() == "byteorder" for name in archive.records):
            raise Abuse("its record byteorder is written in another case")
        return False
    try:
        order = bytes(archive.read("byteorder"))
    except Unreadable as fault:
        raise Unsupported(str(fault)) from None
    if order not in (b"little", b"big"):
        raise Unsupported("its record byteorder is neither little nor big")
    return order == b"big"

"""A strict reader of the zip files that torch.save writes.

The standard library's zipfile (and torch's miniz) forgive what must be refused here: bytes before the archive,
end records that disagree, two records of one name, a local header naming another file. Wherever two readers
could see two different archives, the weights we judge might not be the weights that get used. Only stored
records are read, as views of the mapped file; nothing is extracted. Format: PKWARE's APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from weightfeat.checkpoint.faults import Abuse, Malformed, Unreadable, Unsupported

LOCAL_SIGNATURE = b"PK\x03\x04"
STORED, DEFLATED = 0, 8
_CENTRAL_SIGNATURE = b"PK\x01\x02"
_END_SIGNATURE = b"PK\x05\x06"
_END64_SIGNATURE = b"PK\x06\x06"
_LOCATOR64_SIGNATURE = b"PK\x06\x07"

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_SIZES_FOLLOW = 0x0008
_ZIP64_EXTRA = 0x0001
_MOST_RECORDS = 100_000
_LONGEST_NAME = 1024
_MACOS = "__MACOSX"


@dataclass(frozen=True, slots=True)
class Record:
    """One file of the archive; `start` is where its content begins, `size` what it takes there, `unpacked` inflated."""

    name: str
    method: int
    crc: int
    start: int
    size: int
    unpacked: int

    @property
    def stored(self) -> bool:
        return self.method == STORED


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the directory says of a record, of `packed` bytes in the archive and `size` once unpacked."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int


class ZipArchive:
    """The records of an archive by their path below its one top folder.

    Raises Malformed when it is no archive or a truncated one, Unsupported without a top folder, and Abuse wherever
    readers could differ about what it holds.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.records = _below_top_folder(records_of(data))

    def __contains__(self, name: str) -> bool:
        return name in self.records

    def read(self, name: str) -> memoryview:
        """The content of a stored record; raises Unreadable when it is absent or compressed."""
        record = self.records.get(name)
        if record is None:
            raise Unreadable(f"record {name} is not in the archive")
        if not record.stored:
            raise Unreadable(f"record {name} is compressed, torch stores it plain")
        return self._data[record.start : record.start + record.size]

    def unpacked(self, name: str) -> bytes:
        """The content of a record that may be deflated, of exactly the size the directory gives: the caller bounds it.

        Raises Unreadable where it is damaged.
        """
        record = self.records[name]
        raw = self._data[record.start : record.start + record.size]
        if record.stored:
            return bytes(raw)
        engine = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = engine.decompress(raw, record.unpacked + 1)
        except zlib.error:
            raise Unreadable(f"record {name} is damaged") from None
        if len(content) != record.unpacked or not engine.eof:
            raise Unreadable(f"record {name} unpacks to another size than it should")
        return content

    def crc_agrees(self, name: str) -> bool:
        return zlib.crc32(self.read(name)) == self.records[name].crc


def records_of(data: memoryview) -> list[Record]:
    """Every record of an archive under its whole path, in the directory's order; raises as `ZipArchive` does."""
    start, end, count = _directory(data)
    return _records(data, _entries(data, start, end, count), start)


def ends_as_zip(data: memoryview) -> bool:
    """Whether a reader that looks for an archive from the end, as most do, would find one."""
    tail = bytes(data[-(_END.size + _FULL16) :])
    at = tail.rfind(_END_SIGNATURE)
    while at >= 0:
        if at + _END.size <= len(tail):
            _, _, _, _, _, size, start, comment = _END.unpack_from(tail, at)
            if at + _END.size + comment == len(tail) and size + start <= len(data):
                return True
        at = tail.rfind(_END_SIGNATURE, 0, at)
    return False


def _directory(data: memoryview) -> tuple[int, int, int]:
    """Where the central directory starts and ends, and how many entries it has."""
    at = len(data) - _END.size
    if at < 0 or bytes(data[at : at + 4]) != _END_SIGNATURE:
        raise Malformed(
            "the archive has no end record in its last bytes: it is truncated or something follows it"
        )
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(data, at)
    if comment:
        raise Malformed("the archive's end record promises a comment that is not there")
    end = at
    locator = at - _LOCATOR64.size
    if locator >= 0 and bytes(data[locator : locator + 4]) == _LOCATOR64_SIGNATURE:
        end, wide = _end64(data, locator)
        narrow = (disk, first_disk, here, count, size, start)
        full = (_FULL16, _FULL16, _FULL16, _FULL16, _FULL32, _FULL32)
        if any(n not in (w, f) for n, w, f in zip(narrow, wide, full, strict=True)):
            raise Abuse("the archive's two end records disagree")
        disk, first_disk, here, count, size, start = wide
    if disk or first_disk or here != count:
        raise Abuse("the archive claims to be split over several disks")
    if start + size != end:
        raise Abuse("the archive's directory is not where its end record says")
    if count > _MOST_RECORDS or count * _CENTRAL.size > size:
        raise Abuse(f"the archive claims {count:,} records")
    return start, end, count


def _end64(data: memoryview, locator: int) -> tuple[int, tuple[int, int, int, int, int, int]]:
    _, disk, at, disks = _LOCATOR64.unpack_from(data, locator)
    if disk or disks > 1 or at != locator - _END64.size:
        raise Abuse("the archive's zip64 end record is not where its locator says")
    signature, size, _, _, *wide = _END64.unpack_from(data, at)
    if signature != _END64_SIGNATURE or size != _END64.size - 12:
        raise Abuse("the archive's zip64 end record is none")
    this_disk, first_disk, here, count, length, start = wide
    return at, (this_disk, first_disk, here, count, length, start)


def _entries(data: memoryview, start: int, end: int, count: int) -> list[_Entry]:
    entries = []
    at = start
    for _ in range(count):
        if at + _CENTRAL.size > end:
            raise Malformed("the archive's directory ends too early")
        fields = _CENTRAL.unpack_from(data, at)
        signature, _, _, flags, method, _, _, crc, packed, size, *lengths, disk, _, _, header = fields
        names = at + _CENTRAL.size
        after_name, after_extra = names + lengths[0], names + lengths[0] + lengths[1]
        at = after_extra + lengths[2]
        if signature != _CENTRAL_SIGNATURE or at > end:
            raise Malformed("the archive's directory is damaged")
        raw_name = bytes(data[names:after_name])
        size, packed, header = _widened(data[after_name:after_extra], size, packed, header)
        if flags & _ENCRYPTED:
            raise Abuse("the archive has records marked as encrypted, which torch would read all the same")
        if disk not in (0, _FULL16):
            raise Abuse("the archive claims to be split over several disks")
        if method == 0 and packed != size:
            raise Abuse("the archive has a stored record of two sizes")
        entries.append(_Entry(raw_name, flags, method, crc, packed, size, header))
    if at != end:
        raise Abuse("the archive's directory holds more than its entries")
    return entries


def _records(data: memoryview, entries: list[_Entry], directory: int) -> list[Record]:
    """The records in the directory's order, each beginning where the one before it in the file has ended or later."""
    if min((entry.header for entry in entries), default=0):
        raise Abuse("the archive's first bytes belong to none of its records")
    contents: dict[int, int] = {}
    reached = 0
    # In the file's order, so that no byte is read for two records: a local header can be long.
    for entry in sorted(entries, key=lambda entry: entry.header):
        if entry.header < reached:
            raise Abuse("records of the archive overlap")
        content = _content_start(data, entry)
        reached = content + entry.packed
        if reached > directory:
            raise Abuse("a record of the archive reaches into its directory")
        contents[entry.header] = content
    return [
        Record(_name(entry.name), entry.method, entry.crc, contents[entry.header], entry.packed, entry.size)
        for entry in entries
    ]


def _widened(extra: memoryview, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Sizes and offset with their zip64 values where the 32-bit fields are full."""
    wide = _zip64_extra(extra)
    values = []
    for value in (size, packed, header):
        if value == _FULL32:
            if len(wide) < 8:
                raise Malformed("the archive's directory lacks a zip64 size")
            value = int.from_bytes(wide[:8], "little")
            wide = wide[8:]
        values.append(value)
    return values[0], values[1], values[2]


def _zip64_extra(extra: memoryview) -> memoryview:
    found = None
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if length > len(extra) - 4:
            break
        if kind == _ZIP64_EXTRA:
            if found is not None:
                raise Abuse("a record of the archive has two zip64 fields")
            found = extra[4 : 4 + length]
        extra = extra[4 + length :]
    return memoryview(b"") if found is None else found


def _content_start(data: memoryview, entry: _Entry) -> int:
    """Where a record's content begins, its local header having agreed with the directory in every field."""
    names = entry.header + _LOCAL.size
    if names > len(data):
        raise Malformed("a record of the archive lies past its end")
    fields = _LOCAL.unpack_from(data, entry.header)
    signature, _, local_flags, local_method, _, _, _, local_packed, local_size, name_length, extra_length = (
        fields
    )
    content: int = names + name_length + extra_length
    if signature != LOCAL_SIGNATURE or content > len(data):
        raise Malformed("a record of the archive has no header")
    if bytes(data[names : names + name_length]) != entry.name:
        raise Abuse("a record of the archive has two names")
    if local_method != entry.method or (local_flags ^ entry.flags) & (_ENCRYPTED | _SIZES_FOLLOW):
        raise Abuse("a record of the archive is described in two ways")
    if not entry.flags & _SIZES_FOLLOW:
        extra = data[names + name_length : content]
        local_size, local_packed, _ = _widened(extra, local_size, local_packed, 0)
        if (local_packed, local_size) != (entry.packed, entry.size):
            raise Abuse("a record of the archive has two sizes")
    return content


def _name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Abuse("the archive has a record whose name is not text") from None
    if not name or len(name) > _LONGEST_NAME or "\0" in name:
        raise Abuse("the archive has a record with an impossible name")
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or name[0] in "/\\" or name[1:3] in (":/", ":\\"):
        raise Abuse("the archive has a record whose path leads out of it")
    return name


def _below_top_folder(records: list[Record]) -> dict[str, Record]:
    below: dict[str, Record] = {}
    folded: set[str] = set()
    top = records[0].name.partition("/")[0] if records else ""
    for record in records:
        folder, slash, name = record.name.partition("/")
        if not slash:
            raise Unsupported("the archive is none of torch's: it has records outside a top folder")
        if folder == _MACOS:
            raise Unsupported(
                "the archive was packed again by macOS", "save it again with torch.save, or zip -0 -r"
            )
        if folder != top:
            raise Abuse("the archive has more than one top folder")
        # torch looks names up without regard to case; only TorchScript's sources may differ by case alone.
        same = name.lower() if not name.startswith("code/") else name
        if same in folded:
            raise Abuse("the archive has two records of one name")
        folded.add(same)
        below[name] = record
    return below

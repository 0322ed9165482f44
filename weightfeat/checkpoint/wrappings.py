"""A file's contents through whatever it is wrapped in: a model in a tar archive in gzip is a model."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from weightfeat.checkpoint.faults import Unsupported
from weightfeat.checkpoint.formats import Contents, format_of, refuse_second_format, under
from weightfeat.checkpoint.packed import Wrapped, unpacked
from weightfeat.checkpoint.streams import Budget
from weightfeat.checkpoint.types import Finding

_MOST_WRAPPINGS = 3


def contents_of(path: Path, data: memoryview, key: str | None = None) -> Contents:
    """What a file holds, or what is under a key in it; of one that is wrapped the format says in what, and a note which
    file was read.

    Raises Malformed, Unsupported or Abuse as the readers of formats do, and where it is wrapped too often or unpacks to
    far more than it is.
    """
    budget, kinds, names = Budget.of(len(data)), list[str](), list[str]()
    with ExitStack() as places:
        found = _read(path, data, key)
        while not isinstance(found, Contents):
            kinds.append(found.kind)
            names += [found.name] if found.name else []
            if len(kinds) > _MOST_WRAPPINGS:
                raise Unsupported(
                    f"it is packed more than {_MOST_WRAPPINGS} times over ({' in '.join(kinds[::-1])})"
                )
            inner = places.enter_context(unpacked(found.copy, budget))
            found = _read(inner.path, inner.data, key)
    if not kinds:
        return found
    note = Finding("note", f"read from {names[-1]!r} within it") if names else None
    findings = (*found.findings, *([note] if note else []))
    return replace(found, format=" in ".join((found.format, *kinds[::-1])), findings=findings)


def _read(path: Path, data: memoryview, key: str | None) -> Contents | Wrapped:
    known = format_of(data)
    refuse_second_format(known, data)
    if key is not None and known.read_key is not None:
        return known.read_key(path, data, key)
    found = known.read(path, data)
    return found if key is None or isinstance(found, Wrapped) else under(found, key)

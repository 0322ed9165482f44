"""Opcodes of containers and of the three constants."""

from __future__ import annotations

from collections.abc import Callable

from weightfeat.checkpoint.effects import refuse_write
from weightfeat.checkpoint.faults import Malformed
from weightfeat.checkpoint.machine import Machine
from weightfeat.checkpoint.nodes import Bag, Call, Global, Persistent, Table, is_mapping
from weightfeat.checkpoint.opcodes.registry import OPERATIONS, on


def _constant(code: bytes, make: Callable[[], object]) -> None:
    OPERATIONS[code[0]] = lambda m: m.push(make())


for _code, _make in (
    (b"N", lambda: None),
    (b"\x88", lambda: True),
    (b"\x89", lambda: False),
    (b")", tuple),
    (b"]", list),
    (b"}", Table),
    (b"\x8f", Bag),
):
    _constant(_code, _make)


@on(b"t")
def _tuple(m: Machine) -> None:
    m.push(tuple(m.pop_mark()))


def _short_tuple(code: bytes, length: int) -> None:
    def operation(m: Machine) -> None:
        items = [m.pop() for _ in range(length)]
        m.push(tuple(reversed(items)))

    OPERATIONS[code[0]] = operation


for _code, _length in ((b"\x85", 1), (b"\x86", 2), (b"\x87", 3)):
    _short_tuple(_code, _length)


@on(b"l")
def _list(m: Machine) -> None:
    m.push(m.pop_mark())


@on(b"d")
def _dict(m: Machine) -> None:
    table = Table()
    _put_all(m, table, m.pop_mark())
    m.push(table)


@on(b"\x91")
def _frozenset(m: Machine) -> None:
    m.push(Bag(m.pop_mark()))


@on(b"a")
def _append(m: Machine) -> None:
    item = m.pop()
    _extend(m.top(), [item])


@on(b"e", b"\x90")
def _appends(m: Machine) -> None:
    items = m.pop_mark()
    _extend(m.top(), items)


def _extend(target: object, items: list[object]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, Bag):
        target.items.extend(items)
    elif isinstance(target, Call) and not is_mapping(target):
        refuse_write(target)
        target.items = [] if target.items is None else target.items
        target.items.extend(items)
    else:
        raise Malformed("its pickle appends to something that is no list")


@on(b"s")
def _setitem(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    _put_all(m, _table_of(m.top()), [key, value])


@on(b"u")
def _setitems(m: Machine) -> None:
    items = m.pop_mark()
    _put_all(m, _table_of(m.top()), items)


def _table_of(target: object) -> Table:
    if isinstance(target, Table):
        return target
    if isinstance(target, Call):
        refuse_write(target)
        target.table = target.table or Table()
        return target.table
    raise Malformed("its pickle sets an item of something that is no dict")


def _put_all(m: Machine, table: Table, items: list[object]) -> None:
    if len(items) % 2:
        raise Malformed("its pickle has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        table.put(key, value)
        # `__setstate__` and its like, once among an instance's attributes, would be called by the next BUILD.
        if (
            isinstance(key, str)
            and key[:2] == key[-2:] == "__"
            and isinstance(value, Global | Call | Persistent)
        ):
            m.trace.hooks.append((key, value))

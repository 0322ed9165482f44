"""Opcodes that would import and call: they become names and records, and nothing is ever made of them."""

from __future__ import annotations

import struct

from weightfeat.checkpoint.effects import refuse_shadowing
from weightfeat.checkpoint.faults import Abuse, Malformed
from weightfeat.checkpoint.machine import Machine
from weightfeat.checkpoint.nodes import Call, Global, Persistent, Table, is_mapping
from weightfeat.checkpoint.opcodes.registry import I4, OPERATIONS, U1, U2, on
from weightfeat.checkpoint.opcodes.texts import decode


@on(b"c")
def _global(m: Machine) -> None:
    module = decode(m.line())
    m.refer(module, decode(m.line()))


@on(b"\x93")
def _stack_global(m: Machine) -> None:
    name, module = m.pop(), m.pop()
    m.refer(module, name)


def _extension(code: bytes, layout: struct.Struct) -> None:
    # The registry these numbers point into is whatever the victim's process has registered.
    OPERATIONS[code[0]] = lambda m: m.refer("copyreg", f"extension_{m.unpack(layout)}")


for _code, _layout in ((b"\x82", U1), (b"\x83", U2), (b"\x84", I4)):
    _extension(_code, _layout)


@on(b"R")
def _reduce(m: Machine) -> None:
    args, function = m.pop(), m.pop()
    m.call("REDUCE", function, args)


@on(b"\x81")
def _newobj(m: Machine) -> None:
    args, cls = m.pop(), m.pop()
    m.call("NEWOBJ", cls, args)


@on(b"\x92")
def _newobj_ex(m: Machine) -> None:
    kwargs, args, cls = m.pop(), m.pop(), m.pop()
    if not isinstance(kwargs, Table):
        raise Malformed("NEWOBJ_EX has keywords that are no dict")
    if not isinstance(args, tuple):
        raise Malformed("NEWOBJ_EX has arguments that are no tuple")
    m.call("NEWOBJ_EX", cls, (*args, kwargs) if kwargs.entries or kwargs.odd else args)


@on(b"o")
def _obj(m: Machine) -> None:
    items = m.pop_mark()
    if not items:
        raise Malformed("OBJ has no class")
    m.call("OBJ", items[0], tuple(items[1:]))


@on(b"i")
def _inst(m: Machine) -> None:
    module = decode(m.line())
    m.refer(module, decode(m.line()))
    cls = m.pop()
    m.call("INST", cls, tuple(m.pop_mark()))


@on(b"b")
def _build(m: Machine) -> None:
    state, target = m.pop(), m.top()
    if isinstance(target, Call):
        if is_mapping(target):
            refuse_shadowing(target, state)
        m.trace.spend(2 + target.build(state))
    elif isinstance(target, Global):
        m.trace.patched.append((target, state))
    elif isinstance(target, Persistent):
        raise Abuse("its pickle gives a storage new attributes, which could swap its content")
    elif state is not None and not (isinstance(state, Table) and not state.entries):
        raise Malformed("its pickle gives state to something that has none")


@on(b"P")
def _persid(m: Machine) -> None:
    _refer_to_storage(m, decode(m.line()))


@on(b"Q")
def _binpersid(m: Machine) -> None:
    _refer_to_storage(m, m.pop())


def _refer_to_storage(m: Machine, pid: object) -> None:
    reference = Persistent(pid)
    m.trace.persistents.append(reference)
    m.push(reference)

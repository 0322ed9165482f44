"""What calls leave behind, where Python's own rules say it exactly: mappings and their content, aliases, instances.

A call that is not here leaves a record of itself. What may be written into a record afterwards is said here too, for a
write into something unknown may reach a tensor through it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable

from weightfeat.checkpoint.faults import Abuse, Malformed
from weightfeat.checkpoint.nodes import (
    MAPPINGS,
    Bag,
    Call,
    Persistent,
    Table,
    call_path,
    class_path,
    describe,
    function_path,
    is_mapping,
    is_reconstructed,
    state_tables,
)

_DICT, _COUNTER, _DEFAULTDICT = "builtins.dict", "collections.Counter", "collections.defaultdict"
# Each gives back its first argument. torch.jit writes them around lists and dicts to keep their static types.
_IDENTITIES = {
    "torch.jit._pickle.restore_type_tag": 2,
    **{f"torch.jit._pickle.build_{kind}list": 1 for kind in ("bool", "double", "int", "tensor")},
}
# An attribute of one of these names would be found before the method of that name.
_METHODS = frozenset(name for kind in (OrderedDict, Counter, defaultdict) for name in dir(kind))
_SEQUENCES = frozenset({"collections.deque", "builtins.list", "builtins.set", "builtins.bytearray"})
_FOREIGN_TO_WRITES = ("torch.", "numpy.")


def plainly(call: Call) -> Call:
    """The same call without copyreg's functions around it, which older protocols need to say NEWOBJ."""
    path, args = call_path(call), call.args
    if call.opcode.startswith("NEWOBJ"):
        return call
    if path == "copyreg.__newobj__" and args:
        return Call("NEWOBJ", args[0], args[1:])
    if path == "copyreg.__newobj_ex__" and len(args) == 3 and isinstance(args[1], tuple):
        return Call("NEWOBJ_EX", args[0], (*args[1], args[2]))
    return call


def result_of(call: Call, spend: Callable[[int], None]) -> object:
    """What a call would put on the stack: its record, filled where it makes a mapping, or the object it hands back.

    Raises Abuse for a mapping made in a way that no pickler writes, Malformed for one that Python could not make.
    `spend` is told how many entries were copied.
    """
    path = call_path(call)
    if not call.opcode.startswith("NEWOBJ") and len(call.args) == _IDENTITIES.get(path):
        return call.args[0]
    if class_path(call) in MAPPINGS:
        call.table = _made(call, class_path(call), spend)
    elif is_reconstructed(call) and len(call.args) == 3 and function_path(call.args[1]) == _DICT:
        call.table = _filled("dict", call.args[2], spend)
    return call


def _made(call: Call, path: str, spend: Callable[[int], None]) -> Table:
    name = path.rpartition(".")[2]
    if call.opcode.startswith("NEWOBJ"):  # __new__ alone takes any arguments and does nothing with them
        if any(not isinstance(argument, Table) or argument.entries for argument in call.args):
            raise Abuse(f"its {name} is given arguments that Python ignores")
        return Table()
    if is_reconstructed(call):
        raise Abuse(f"its {name} is made by copyreg, which leaves its order and its content two things")
    arguments = call.args[1:] if path == _DEFAULTDICT else call.args
    if len(arguments) > 1:
        raise Malformed(f"its {name} is made of {len(arguments)} arguments")
    content = arguments[0] if arguments else ()
    if path == _COUNTER and content != () and not is_mapping(content):
        raise Abuse(f"its {name} is made of {describe(content)}, which is no dict")
    return _filled(name, content, spend)


def _filled(name: str, content: object, spend: Callable[[int], None]) -> Table:
    """A dict of another's entries, or of pairs: copied at once, for what is given may change later, the dict not.

    Raises Abuse for pairs that Python would find in something else than dicts, lists and tuples: what was not
    understood would be in the dict all the same.
    """
    table = Table()
    source = content.table if isinstance(content, Call) and is_mapping(content) else content
    pairs: object = [*source.entries.items(), *(source.odd or ())] if isinstance(source, Table) else content
    if not isinstance(pairs, list | tuple):
        raise Abuse(f"its {name} is made of {describe(content)}, which is no list of pairs")
    spend(len(pairs))
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Abuse(f"its {name} is made of what is no list of pairs")
        table.put(pair[0], pair[1])
    return table


def refuse_shadowing(target: Call, state: object) -> None:
    """Raises Abuse for a state of a mapping that would change what its methods find in it."""
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    whole = all(part is None or isinstance(part, Table) for part in parts)
    if not whole or any(table.odd or _METHODS & table.entries.keys() for table in state_tables(state)):
        raise Abuse(f"its {class_path(target)} is given attributes that hide its methods, or may do")


def refuse_write(target: Call) -> None:
    """Raises Abuse for items put into an object of which it is not known that they stay in it.

    An item set in a tensor is written into its storage, which others may share; what an unknown function gives back
    may be a tensor it was given.
    """
    path = class_path(target)
    if is_mapping(target) or path in _SEQUENCES:
        return
    made_of_nothing = not any(
        isinstance(argument, Call | Persistent | list | Table | Bag) for argument in target.args
    )
    if path.startswith(_FOREIGN_TO_WRITES) or not (path and made_of_nothing):
        raise Abuse(f"its pickle writes into a tensor, or what may be one: {describe(target)}")

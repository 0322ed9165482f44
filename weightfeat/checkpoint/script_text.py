"""One statement of TorchScript's code as text: its calls, the variables it names, long lists of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from weightfeat.checkpoint.faults import Unsupported

DEEPEST = 50
"""How deep calls may be nested; torch.jit.save gives most results a variable of their own."""

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_NUMBERS = re.compile(r"(?:-?[\d.]++(?:e[-+]?\d++)?+[\], \[]++)+")
_DELIMITER = re.compile(r"(?P<name>\(\w+\)(?:\.\w+)?|[A-Za-z_][\w.]*)?(?P<open>[(\[{])|[)\]},]")
_KEPT = 1 << 14  # expressions whose parts are kept, for each is looked at several times
_LONGEST_LINE = 20_000
_CALLED = re.compile(r"\b(torch|ops\.\w+)\.(\w+)\(")
_VARIABLE = re.compile(r"(?<![\w.])[A-Za-z_]\w*\b(?![(.=])")
_WORDS = frozenset(
    {"None", "True", "False", "Tensor", "int", "float", "bool", "if", "else", "return", "and", "or", "not"}
)
_FOREIGN = frozenset({"save", "load", "from_file", "rpc_async", "rpc_sync", "rpc_remote"})
_OWN_SPACES = frozenset({"torch", "ops.aten", "ops.prim", "ops.quantized", "ops.torchvision", "ops.inductor"})


def without_texts(line: str) -> str:
    """The line with its literal texts emptied, so that nothing in them is taken for code."""
    return _TEXT.sub('""', line)


def longest_list(plain: str) -> int:
    """How many numbers stand in a row, in lists or lists of lists."""
    return max((run[0].count(",") for run in _NUMBERS.finditer(plain)), default=0)


@lru_cache(_KEPT)
def called(expression: str) -> frozenset[str]:
    """Names of torch's functions that an expression calls."""
    return frozenset(found[2] for found in _CALLED.finditer(expression))


@lru_cache(_KEPT)
def variables(expression: str) -> frozenset[str]:
    """Names of the variables in an expression."""
    return frozenset(_VARIABLE.findall(expression)) - _WORDS


@lru_cache(_KEPT)
def calls(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The named calls of a statement with their arguments, the inner ones first; a method's name is "(object).name".

    Raises Unsupported for a statement longer, or calls nested deeper, than torch prints them.
    """
    if len(text) > _LONGEST_LINE:
        raise Unsupported(f"its code has a line of {len(text):,} characters")
    stack: list[tuple[str, list[str], int]] = []
    made: list[tuple[str, tuple[str, ...]]] = []
    for found in _DELIMITER.finditer(text):
        if found["open"]:
            stack.append((found["name"] or "", [], found.end()))
            if len(stack) > DEEPEST:
                raise Unsupported(f"its code has calls nested more than {DEEPEST} deep")
        elif stack:
            name, arguments, begin = stack.pop()
            arguments.append(text[begin : found.start()].strip())
            if found[0] == ",":
                stack.append((name, arguments, found.end()))
            elif name:
                made.append((name, tuple(arguments)))
    return tuple(made)


def foreign_calls(plain: str) -> Iterator[str]:
    """What of a statement reaches for files, other machines, or libraries that are not torch's own."""
    for found in _CALLED.finditer(plain):
        if found[1] not in _OWN_SPACES or found[2] in _FOREIGN:
            yield f"{found[1]}.{found[2]} is called by its code"

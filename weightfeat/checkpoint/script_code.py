"""TorchScript's code, read as text: what its classes declare and use, and whether it computes with other weights.

torch.jit.save prints one statement a line, and every attribute it reads into a variable first, so that following
variables by their declared types tells what is read. Nothing here is parsed by Python, and nothing of it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from weightfeat.checkpoint.faults import Unsupported

_MOST_NUMBERS = 64
_CLASS = re.compile(r"class (\w+)\(.*\):$")
_DECLARED = re.compile(r'  (?:(\w+) : |__annotations__\["((?:[^"\\]|\\.)*)"\] = )(.*)$')
_FUNCTION = re.compile(r"(?:  )?def (\w+)\(")
_PARAMETER = re.compile(r"[(,]\s*(\w+): ")
_ASSIGNED = re.compile(r"\s+(\w+) = (.*)$")
_READ = re.compile(r'\b(\w+)\.(\w+)|\bgetattr\((\w+), "((?:[^"\\]|\\.)*)"\)')
_WRITTEN = re.compile(r"\s+(\w+)\.(\w+) = ")
_IN_PLACE = re.compile(r"\btorch\.(\w*[a-z0-9]_)\((\w+)")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_NUMBERS = re.compile(r"(?:-?[\d.]++(?:e[-+]?\d++)?+[\], \[]++)+")
_LAYER = re.compile(r"torch\.(?:_?conv\w*|linear|bilinear)$")
_PRODUCT = re.compile(r"torch\.(?:matmul|mm|bmm|addmm|baddbmm|einsum)$")
_DELIMITER = re.compile(r"(?P<name>[A-Za-z_][\w.]*)?(?P<open>[(\[{])|[)\]},]")
_LONGEST_LINE = 20_000
_DEEPEST = 50
_CALLED = re.compile(r"\b(torch|ops\.\w+)\.(\w+)\(")
_VARIABLE = re.compile(r"\b[A-Za-z_]\w*\b(?!\()")
# What hands out the values it is given, in another order or type at most.
_VIEWS = frozenset(
    {
        "annotate",
        "unchecked_cast",
        "t",
        "numpy_T",
        "view",
        "reshape",
        "permute",
        "transpose",
        "slice",
        "select",
    }
    | {
        "unsqueeze",
        "squeeze",
        "contiguous",
        "to",
        "detach",
        "chunk",
        "split",
        "unbind",
        "flatten",
        "expand",
        "cat",
    }
    | {"unflatten", "narrow"}
)
_FOREIGN = frozenset({"save", "load", "from_file", "rpc_async", "rpc_sync", "rpc_remote"})
_OWN_SPACES = frozenset({"torch", "ops.aten", "ops.prim", "ops.quantized", "ops.torchvision", "ops.inductor"})
_COUNTER = "num_batches_tracked"


@dataclass
class Class:
    """What one class declares, by name with the type as written, and which of it the code reads."""

    attributes: dict[str, str] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    has_state: bool = False


@dataclass
class Code:
    """All classes by path, and what in their functions would do more than compute."""

    classes: dict[str, Class] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)


@dataclass
class _Scope:
    """The variables of one function: those of a class's type, those that are stored tensors, those made of them."""

    kinds: dict[str, str]
    stored: set[str] = field(default_factory=set)
    counters: set[str] = field(default_factory=set)
    derived: set[str] = field(default_factory=set)


def read_code(texts: dict[str, str]) -> Code:
    """The classes of an archive's code, by the paths of its files below code/.

    Raises Unsupported where the code brings or changes weights: what it computes with is then not what is stored.
    """
    code = Code()
    bodies: list[tuple[str, list[str]]] = []
    for path, text in texts.items():
        bodies += _declarations(path.removesuffix(".py").replace("/", "."), text, code)
    for owner, lines in bodies:
        _follow(owner, lines, code)
    return code


def _declarations(module: str, text: str, code: Code) -> list[tuple[str, list[str]]]:
    """Register a file's classes; returns (class path or "", lines) of each function."""
    bodies: list[tuple[str, list[str]]] = []
    owner = ""
    for line in text.split("\n"):
        if found := _CLASS.match(line):
            owner = f"{module}.{found[1]}"
            code.classes[owner] = Class()
            bodies.append((owner, []))
        elif found := _FUNCTION.match(line):
            owner = owner if line.startswith(" ") else ""
            if owner and found[1] == "__setstate__":
                raise Unsupported(
                    f"its code makes the content of {owner} out of another state (__setstate__)"
                )
            bodies.append((owner, [line]))
        elif owner and not (bodies and bodies[-1][1]) and (found := _DECLARED.match(line)):
            name, kind = found[1] or found[2], found[3]
            if not kind.startswith("Final["):
                code.classes[owner].attributes[name] = kind
        elif bodies and bodies[-1][1]:
            bodies[-1][1].append(line)
    return [(owner, lines) for owner, lines in bodies if lines]


def _follow(owner: str, lines: list[str], code: Code) -> None:
    """Note what one function reads of which class."""
    scope: _Scope | None = None
    signature = ""
    for line in lines:
        if scope is None:
            signature += line
            if line.endswith(":"):
                first = _PARAMETER.search(signature)
                scope = _Scope({first[1]: owner} if first and owner else {})
            continue
        plain = _TEXT.sub('""', line)
        if any(run[0].count(",") >= _MOST_NUMBERS for run in _NUMBERS.finditer(plain)):
            raise Unsupported("its code holds long lists of numbers, which may be weights")
        _note_reads(line, scope, code)
        _refuse_writes(plain, scope, code)
        _refuse_made_weights(plain, scope)
        code.foreign += _foreign_calls(plain)
        _assign(line, plain, scope, code)


def _attribute(match: re.Match[str], scope: _Scope, code: Code) -> tuple[str, str, str] | None:
    """(class, name, type) that an access reads; None for one of no object of the code's classes."""
    base, name = (match[1], match[2]) if match[1] else (match[3], match[4])
    kind = scope.kinds.get(base)
    declared = code.classes[kind].attributes.get(name) if kind in code.classes else None
    return None if kind is None or declared is None else (kind, name, declared)


def _note_reads(line: str, scope: _Scope, code: Code) -> None:
    for match in _READ.finditer(line):
        if (read := _attribute(match, scope, code)) is not None:
            code.classes[read[0]].read.add(read[1])


def _refuse_writes(plain: str, scope: _Scope, code: Code) -> None:
    written = _WRITTEN.match(plain)
    if written and (read := _attribute(written, scope, code)) is not None and "Tensor" in read[2]:
        raise Unsupported(f"its code puts another tensor in the place of {read[1]!r}")
    for found in _IN_PLACE.finditer(plain):
        if found[2] in scope.stored - scope.counters:
            raise Unsupported(f"its code changes a stored tensor (torch.{found[1]})")


def _refuse_made_weights(plain: str, scope: _Scope) -> None:
    """A layer's second argument is its weight: a stored tensor, a constant, or an argument of the function."""
    for function, arguments in _calls(plain):
        if _LAYER.match(function) and len(arguments) > 1 and _is_made(arguments[1], scope):
            raise Unsupported("its code computes the weights of a layer out of others")
        if _PRODUCT.match(function) and any(_is_made(given, scope, of_stored=True) for given in arguments):
            raise Unsupported("its code computes the weights of a product out of others")


def _is_made(expression: str, scope: _Scope, *, of_stored: bool = False) -> bool:
    """Whether a value is the result of more than a view; with `of_stored`, of a stored tensor only."""
    called = [found[2] for found in _CALLED.finditer(expression)]
    names = set(_VARIABLE.findall(expression))
    computed = any(name not in _VIEWS for name in called)
    if of_stored:
        return bool(names & scope.derived) or (computed and bool(names & scope.stored))
    return computed or bool(names & scope.derived)


def _assign(line: str, plain: str, scope: _Scope, code: Code) -> None:
    assigned = _ASSIGNED.match(line)
    if assigned is None:
        return
    name, value = assigned[1], assigned[2]
    for known in (scope.stored, scope.counters, scope.derived):
        known.discard(name)
    scope.kinds.pop(name, None)
    match = _READ.fullmatch(value)
    read = _attribute(match, scope, code) if match else None
    if read is not None:
        if read[2] in code.classes:
            scope.kinds[name] = read[2]
        elif "Tensor" in read[2]:
            scope.stored.add(name)
            if read[1] == _COUNTER:
                scope.counters.add(name)
        return
    expression = plain.partition(" = ")[2]
    if _is_made(expression, scope, of_stored=True) and not _is_data(expression):
        scope.derived.add(name)
    elif set(_VARIABLE.findall(expression)) & scope.stored and not _CALLED.search(expression):
        scope.stored.add(name)  # an alias, or one of a tuple's


# What takes stored tensors to compute with data; its result is data, as what the file's own functions give back.
_DATA = re.compile(
    r"torch\.(?:_?conv\w*|linear|bilinear|\w*norm\w*|prelu|embedding\w*|matmul|mm|bmm|addmm|baddbmm|einsum)\(|[(_]"
)


def _is_data(expression: str) -> bool:
    return _DATA.match(expression) is not None


def _calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """The named calls of a statement with their arguments, the inner ones first.

    Raises Unsupported for a statement longer, or calls nested deeper, than torch prints them.
    """
    if len(text) > _LONGEST_LINE:
        raise Unsupported(f"its code has a line of {len(text):,} characters")
    stack: list[tuple[str, list[str], int]] = []
    for found in _DELIMITER.finditer(text):
        if found["open"]:
            stack.append((found["name"] or "", [], found.end()))
            if len(stack) > _DEEPEST:
                raise Unsupported(f"its code has calls nested more than {_DEEPEST} deep")
        elif stack:
            name, arguments, begin = stack.pop()
            arguments.append(text[begin : found.start()].strip())
            if found[0] == ",":
                stack.append((name, arguments, found.end()))
            elif name:
                yield name, arguments


def _foreign_calls(plain: str) -> Iterator[str]:
    for found in _CALLED.finditer(plain):
        if found[1] not in _OWN_SPACES or found[2] in _FOREIGN:
            yield f"{found[1]}.{found[2]} is called by its code"

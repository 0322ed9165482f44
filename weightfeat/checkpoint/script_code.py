"""TorchScript's code, read as text: what its classes declare and use, and whether it computes with other weights.

torch.jit.save prints one statement a line, and every attribute it reads into a variable first, so that following
variables by their declared types tells what is read. Nothing here is parsed by Python, and nothing of it runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from weightfeat.checkpoint.faults import Unsupported
from weightfeat.checkpoint.script_text import (
    DEEPEST,
    called,
    calls,
    foreign_calls,
    longest_list,
    variables,
    without_texts,
)

_MOST_NUMBERS = 64
_CLASS = re.compile(r"class (\w+)\(.*\):$")
_DECLARED = re.compile(r'  (?:(\w+) : |__annotations__\["((?:[^"\\]|\\.)*)"\] = )(.*)$')
_FUNCTION = re.compile(r"(?:  )?def (\w+)\(")
_PARAMETER = re.compile(r"[(,]\s*(\w+): ")
_ASSIGNED = re.compile(r"\s+(\w+(?:, \w+)*),? = (.*)$")
_READ = re.compile(r'\b(\w+)\.(\w+)|\bgetattr\((\w+), "((?:[^"\\]|\\.)*)"\)')
_WRITTEN = re.compile(r"\s+(\w+)\.(\w+) = ")
_IN_PLACE = re.compile(r"\btorch\.(\w*[a-z0-9]_)\((\w+)")
_LAYER = re.compile(r"torch\.(?:_?conv\w*|linear|bilinear)$")
_PRODUCT = re.compile(r"torch\.(?:matmul|mm|bmm|addmm|baddbmm|einsum)$")
_FUNCTION_NAME = re.compile(r"__torch__\.[\w.]*?(\w+)$")
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
_ARITHMETIC = frozenset(
    {"mul", "add", "sub", "rsub", "div", "neg", "pow", "abs", "exp", "tanh", "sign", "flip", "roll"}
)
_CASTS = ("annotate", "unchecked_cast")
_VIEW = re.compile(r"[A-Za-z_][\w.]*\(.*\)")
_INDEX = re.compile(r"\[-?\d+\]$")
_MOST_PASSES = 4
_COUNTER = "num_batches_tracked"


@dataclass
class Class:
    """What one class declares, by name with the type as written, and which of it the code reads."""

    attributes: dict[str, str] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    has_state: bool = False


@dataclass
class Code:
    """All classes by path; what in their functions would do more than compute, and layers whose weights they make."""

    classes: dict[str, Class] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)


@dataclass
class _Scope:
    """The variables of one function: objects by class, functions by name, and tensors by where they are from: `weights`
    are stored ones, arguments and views of both; `derived` are made of stored ones alone, `scaled` by arithmetic."""

    kinds: dict[str, str]
    arguments: list[str]
    functions: dict[str, str] = field(default_factory=dict)
    weights: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    counters: set[str] = field(default_factory=set)
    derived: set[str] = field(default_factory=set)
    scaled: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Function:
    """One function's name, class path ("" for none) and statements."""

    name: str
    owner: str
    lines: list[str]


def read_code(texts: dict[str, str]) -> Code:
    """The classes of an archive's code, by the paths of its files below code/.

    Raises Unsupported where the code brings or changes weights: what it computes with is then not what is stored.
    """
    code = Code()
    functions: list[_Function] = []
    for path, text in texts.items():
        functions += _declarations(path.removesuffix(".py").replace("/", "."), text, code)
    uses: dict[str, set[int]] = {}
    for _ in range(_MOST_PASSES):
        before = sum(map(len, uses.values()))
        for function in functions:
            _follow(function, code, uses, judge=False)
        if sum(map(len, uses.values())) == before:
            break
    for function in functions:
        _follow(function, code, uses, judge=True)
    return code


def _declarations(module: str, text: str, code: Code) -> list[_Function]:
    """Register a file's classes; returns its functions."""
    functions: list[_Function] = []
    owner, lines = "", None
    for line in text.split("\n"):
        if found := _CLASS.match(line):
            owner, lines = f"{module}.{found[1]}", None
            code.classes[owner] = Class()
        elif found := _FUNCTION.match(line):
            owner = owner if line.startswith(" ") else ""
            if owner and found[1] == "__setstate__":
                raise Unsupported(
                    f"its code makes the content of {owner} out of another state (__setstate__)"
                )
            lines = [line]
            functions.append(_Function(found[1], owner, lines))
        elif lines is not None:
            lines.append(line)
        elif owner and (found := _DECLARED.match(line)) and not found[3].startswith("Final["):
            code.classes[owner].attributes[found[1] or found[2]] = found[3]
    return functions


def _follow(function: _Function, code: Code, uses: dict[str, set[int]], *, judge: bool) -> None:
    """Note in `uses` which arguments of a function become a layer's weights; with `judge`, what is read of which class,
    and what is wrong."""
    scope: _Scope | None = None
    signature: list[str] = []
    for line in function.lines:
        if scope is None:
            signature.append(line)
            if line.endswith(":"):
                names = _PARAMETER.findall(" ".join(signature))
                kinds = {names[0]: function.owner} if names and function.owner else {}
                scope = _Scope(kinds, names, weights=set(names) - kinds.keys())
            continue
        plain = without_texts(line)
        made = list(calls(plain))
        _refuse_made_weights(function, made, scope, uses, judge=judge, code=code)
        if judge:
            if longest_list(plain) >= _MOST_NUMBERS:
                raise Unsupported("its code holds long lists of numbers, which may be weights")
            _note_reads(line, scope, code)
            _refuse_writes(plain, scope, code)
            code.foreign += foreign_calls(plain)
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


def _refuse_made_weights(
    function: _Function,
    made: list[tuple[str, list[str]]],
    scope: _Scope,
    uses: dict[str, set[int]],
    *,
    judge: bool,
    code: Code,
) -> None:
    """A layer's second argument is its weight: a stored tensor, a constant, or an argument of the function."""
    for name, arguments in made:
        places = {1} if _LAYER.match(name) else uses.get(scope.functions.get(name, name), set())
        for place in places:
            if place >= len(arguments) or arguments[place] in ("", "None"):
                continue
            uses.setdefault(function.name, set()).update(_passed_on(arguments[place], scope, function))
            if judge and not _is_weight(arguments[place], scope):
                _judge(arguments[place], name, scope, code)
        if judge and _PRODUCT.match(name):
            for given in filter(lambda given: _is_derived(given, scope), arguments):
                _judge(given, name, scope, code)


def _judge(expression: str, function: str, scope: _Scope, code: Code) -> None:
    """Weights that the code makes: refused where they are stored ones in other numbers, else told.

    Norms and standardised weights are made by reductions, and what is read stands for them.
    """
    if variables(expression) and _is_scaled(expression, scope):
        raise Unsupported(f"its code gives {function} weights that it makes of the stored ones by arithmetic")
    code.made.append(function)


def _passed_on(expression: str, scope: _Scope, function: _Function) -> set[int]:
    """Which arguments of the function, as its callers count them, an expression names."""
    first = 1 if function.owner else 0
    return {
        scope.arguments.index(name) - first
        for name in variables(expression)
        if name in scope.arguments[first:]
    }


def _is_weight(expression: str, scope: _Scope) -> bool:
    """Whether a value is a stored tensor, a constant or an argument, or a view of one."""
    for _ in range(DEEPEST):
        call = _VIEW.fullmatch(expression)
        if call is None:
            return (
                expression.startswith("CONSTANTS.") or _INDEX.sub("", expression).strip("()") in scope.weights
            )
        name, arguments = next(
            reversed(list(calls(expression))), ("", [])
        )  # none where its brackets do not match
        if name.rpartition(".")[2] not in _VIEWS:
            return False
        expression = arguments[1 if name in _CASTS and len(arguments) > 1 else 0]
    return False


def _is_derived(expression: str, scope: _Scope) -> bool:
    """Whether a value is computed of stored tensors alone."""
    names = variables(expression)
    computed = bool(called(expression) - _VIEWS)
    return bool(names) and names <= scope.stored | scope.derived and (computed or bool(names & scope.derived))


def _assign(line: str, plain: str, scope: _Scope, code: Code) -> None:
    assigned = _ASSIGNED.match(line)
    if assigned is None:
        return
    names, value, expression = assigned[1].split(", "), assigned[2], plain.partition(" = ")[2]
    match = _READ.fullmatch(value)
    read = _attribute(match, scope, code) if match else None
    is_view = _is_weight(expression, scope)
    is_stored = is_view and variables(expression) <= scope.stored
    is_derived = _is_derived(expression, scope) and not _is_data(expression)
    aliased = _FUNCTION_NAME.fullmatch(value)
    for name in names:
        scope.kinds.pop(name, None)
        scope.functions.pop(name, None)
        if aliased:
            scope.functions[name] = aliased[1]
        if read is not None and read[2] in code.classes:
            scope.kinds[name] = read[2]
        tensor = read is not None and "Tensor" in read[2]
        _mark(scope.stored, name, tensor or is_stored)
        _mark(scope.weights, name, tensor or is_view)
        _mark(scope.counters, name, tensor and read is not None and read[1] == _COUNTER)
        _mark(scope.derived, name, is_derived)
        _mark(scope.scaled, name, is_derived and _is_scaled(expression, scope))


def _is_scaled(expression: str, scope: _Scope) -> bool:
    return called(expression) - _VIEWS <= _ARITHMETIC and variables(expression) <= scope.stored | scope.scaled


def _mark(known: set[str], name: str, belongs: bool) -> None:
    (known.add if belongs else known.discard)(name)


# What takes stored tensors to compute with data; its result is data, as what the file's own functions give back.
_DATA = re.compile(
    r"torch\.(?:_?conv\w*|linear|bilinear|\w*norm\w*|prelu|embedding\w*|matmul|mm|bmm|addmm|baddbmm|einsum)\(|[(_]"
)


def _is_data(expression: str) -> bool:
    return _DATA.match(expression) is not None

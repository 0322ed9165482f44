"""TorchScript's code, read as text: what its classes declare and use, and whether it computes with other weights.

torch.jit.save prints one statement a line, and every attribute it reads into a variable first, so that following
variables by their declared types tells what is read. Nothing here is parsed by Python, and nothing of it runs.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, field
from functools import cached_property

from weightfeat.checkpoint.faults import Unsupported
from weightfeat.checkpoint.script_text import calls, foreign_calls, longest_list, without_texts
from weightfeat.checkpoint.script_values import (
    Known,
    Scope,
    assign,
    is_derived,
    is_made,
    is_weight,
    places_of,
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
_FUNCTION_PATH = re.compile(r"__torch__\.[\w.]+$")
_CONSTANT = re.compile(r"\bCONSTANTS\.c\d")
_PACKED = "ConstantMKLDNNTensor"
_RETURNED = re.compile(r"\s+return (.*)$")
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
    """All classes by path, and what in their functions would do more than compute."""

    classes: dict[str, Class] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Function:
    """One function's path, that of the class it is a method of ("" for none), and its lines."""

    path: str
    owner: str
    lines: list[str]

    @cached_property
    def _end(self) -> int:
        """Lines that its signature takes."""
        return 1 + next((n for n, line in enumerate(self.lines) if line.endswith(":")), len(self.lines))

    @cached_property
    def arguments(self) -> list[str]:
        return _PARAMETER.findall(" ".join(self.lines[: self._end]))

    @cached_property
    def body(self) -> list[tuple[str, str]]:
        """Its statements, as they are and without texts."""
        return [(line, without_texts(line)) for line in self.lines[self._end :]]

    @cached_property
    def is_reassigning(self) -> bool:
        given = (match[1].split(", ") for line, _ in self.body if (match := _ASSIGNED.match(line)))
        found = [name for names in given for name in names]
        return len(set(found)) < len(found)


def read_code(texts: dict[str, str], matrices: Set[tuple[str, str]]) -> Code:
    """The classes of an archive's code, by the paths of its files below code/.

    Parameters
    ----------
    texts : content by path.
    matrices : (class, attribute) of the tensors that are layers' weights.

    Raises Unsupported where the code brings weights, or computes with others than are stored.
    """
    code = Code()
    functions: list[_Function] = []
    for path, text in texts.items():
        functions += _declarations(path.removesuffix(".py").replace("/", "."), text, code)
    reader = _Reader(code, matrices)
    # What functions give back is known only where what they take is.
    for step in ("take", "give"):
        for _ in range(_MOST_PASSES):
            before = reader.known.size
            for function in functions:
                reader.follow(function, step)
            if reader.known.size == before:
                break
    for function in functions:
        reader.follow(function, "judge")
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
            functions.append(_Function(f"{owner or module}.{found[1]}", owner, lines))
        elif lines is not None:
            lines.append(line)
        elif owner and (found := _DECLARED.match(line)) and not found[3].startswith("Final["):
            code.classes[owner].attributes[found[1] or found[2]] = found[3]
    return functions


@dataclass
class _Reader:
    """Follows functions statement by statement."""

    code: Code
    matrices: Set[tuple[str, str]]
    known: Known = field(default_factory=Known)

    def follow(self, function: _Function, step: str) -> None:
        """Note what a function takes ("take"), what it gives back ("give"), or what it reads and does wrong ("judge").

        Where a variable is given something twice, its statements are gone through twice as well: what a branch or a
        loop gives it counts before that too.
        """
        names = function.arguments
        kinds = {names[0]: function.owner} if names and function.owner else {}
        scope = Scope(kinds, names, weights=set(names) - kinds.keys())
        if function.is_reassigning:
            for line, plain in function.body:
                self._assign(line, plain, scope)
        for line, plain in function.body:
            if step == "give":
                self._note_returned(function, plain, scope)
            else:
                self._weigh(function, plain, scope, judge=step == "judge")
            if step == "judge":
                self._inspect(line, plain, scope)
            self._assign(line, plain, scope)

    def _inspect(self, line: str, plain: str, scope: Scope) -> None:
        if _PACKED in plain:
            raise Unsupported(
                "it was optimised for inference: weights that its code computes with are packed and not in the file",
                "save the network as it was before torch.jit.optimize_for_inference",
            )
        if any(_PRODUCT.match(name) and _CONSTANT.search(" ".join(given)) for name, given in calls(plain)):
            raise Unsupported("its code multiplies by constants, which may be weights turned round")
        if longest_list(plain) >= _MOST_NUMBERS:
            raise Unsupported("its code holds long lists of numbers, which may be weights")
        for match in _READ.finditer(line):
            if (read := self._attribute(match, scope)) is not None:
                self.code.classes[read[0]].read.add(read[1])
        self._refuse_writes(plain, scope)
        self.code.foreign += foreign_calls(plain)

    def _attribute(self, match: re.Match[str], scope: Scope) -> tuple[str, str, str] | None:
        """(class, name, type) that an access reads; None for one of no object of the code's classes."""
        base, name = (match[1], match[2]) if match[1] else (match[3], match[4])
        kind = scope.kinds.get(base)
        known = self.code.classes.get(kind or "")
        declared = None if known is None else known.attributes.get(name)
        return None if kind is None or declared is None else (kind, name, declared)

    def _refuse_writes(self, plain: str, scope: Scope) -> None:
        written = _WRITTEN.match(plain)
        if written and (read := self._attribute(written, scope)) is not None and "Tensor" in read[2]:
            raise Unsupported(f"its code puts another tensor in the place of {read[1]!r}")
        for found in _IN_PLACE.finditer(plain):
            if found[2] in scope.stored - scope.counters:
                raise Unsupported(f"its code changes a stored tensor (torch.{found[1]})")

    def _weigh(self, function: _Function, plain: str, scope: Scope, *, judge: bool) -> None:
        """A layer's second argument is its weight: a stored tensor, a constant, or an argument of the function. What is
        computed of stored tensors is no operand of a product, nor what a function gives to either."""
        first = 1 if function.owner else 0
        for name, arguments in calls(plain):
            path, layer, product = scope.function(name), _LAYER.match(name), _PRODUCT.match(name)
            weights = {1} if layer else self.known.uses.get(path, set())
            operands = set(range(len(arguments))) if product else self.known.operands.get(path, set())
            for places, known in ((weights, self.known.uses), (operands, self.known.operands)):
                for given in (arguments[place] for place in places if place < len(arguments)):
                    named = set(places_of(given, scope, first))
                    if named:
                        known.setdefault(function.path, set()).update(named)
                    if judge and given not in ("", "None") and self._is_computed(given, scope, known):
                        raise Unsupported(
                            f"its code computes the weights that it gives to {name.rpartition('.')[2]}"
                        )

    def _note_returned(self, function: _Function, plain: str, scope: Scope) -> None:
        returned = _RETURNED.match(plain)
        if returned and (is_derived(returned[1], scope) or is_made(returned[1], scope, self.known)):
            self.known.gives.add(function.path)

    def _is_computed(self, given: str, scope: Scope, known: dict[str, set[int]]) -> bool:
        """Whether a layer's weight is none that is stored, or a product's operand computed of stored tensors."""
        if known is self.known.uses:
            return not is_weight(given, scope)
        return is_derived(given, scope) or is_made(given, scope, self.known)

    def _assign(self, line: str, plain: str, scope: Scope) -> None:
        assigned = _ASSIGNED.match(line)
        if assigned is None:
            return
        names, value = assigned[1].split(", "), assigned[2]
        match = _READ.fullmatch(value)
        read = self._attribute(match, scope) if match else None
        if read is None:
            assign(names, plain.partition(" = ")[2], scope, self.known)
            if _FUNCTION_PATH.fullmatch(value):
                scope.functions |= dict.fromkeys(names, value)
            return
        kind, attribute, declared = read
        for name in names:
            scope.leaves[name] = attribute
            if declared in self.code.classes:
                scope.kinds[name] = declared
            if "Tensor" in declared:
                scope.weights.add(name)
                scope.stored.add(name)
                (scope.counters.add if attribute == _COUNTER else scope.counters.discard)(name)
                (scope.matrices.add if (kind, attribute) in self.matrices else scope.matrices.discard)(name)

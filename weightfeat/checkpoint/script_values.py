"""What the variables of one TorchScript function hold: stored tensors, what is computed of them, or data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from weightfeat.checkpoint.script_text import DEEPEST, called, calls, variables

_CALL = re.compile(r"[A-Za-z_(][\w.()]*\(.*\)")
_INDEX = re.compile(r"\[-?\d+\]$")
_OBJECT = re.compile(r"\((\w+)\)(?:\.(\w+))?")
_CASTS = ("annotate", "unchecked_cast")
# What hands out the values it is given, in another order or type at most.
_VIEWS = frozenset(
    re.findall(
        r"\w+",
        "annotate unchecked_cast t numpy_T view reshape permute transpose slice select unsqueeze squeeze contiguous to "
        "detach chunk split unbind flatten expand cat unflatten narrow",
    )
)
# What takes stored tensors to compute with data, its first argument: the result is data.
_ON_DATA = re.compile(
    r"torch\.(?:_?conv\w*|linear|bilinear|\w*norm\w*|prelu|embedding\w*|matmul|mm|bmm|addmm|baddbmm|einsum)"
)
_NORM = re.compile(r"torch\.\w*norm\w*")
# Parts of a weight, as torch.nn.utils names them, with the one function that makes it of them.
_COMPOSED: dict[str, tuple[set[str], ...]] = {
    "torch._weight_norm": ({"weight_v", "weight_g"}, {"original0", "original1"}),
    "torch.mul": ({"weight_orig", "weight_mask"},),
}
_NOTHING = ("None", "uninitialized")


@dataclass
class Scope:
    """The variables of one function: objects by class, functions by path, and tensors by where they are from.

    `weights` are stored ones, arguments and views of both, `stored` those of them that are no arguments, `matrices`
    stored layers' weights. `derived` are computed of stored tensors alone, `made` of a layer's weights and anything.
    `others` were given something else in one branch at least. `leaves` are the attributes that variables were read
    from.
    """

    kinds: dict[str, str]
    arguments: list[str]
    functions: dict[str, str] = field(default_factory=dict)
    weights: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    matrices: set[str] = field(default_factory=set)
    counters: set[str] = field(default_factory=set)
    derived: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    leaves: dict[str, str] = field(default_factory=dict)

    def function(self, name: str) -> str:
        """The path of the file's own function that a call's name stands for; the name itself for any other."""
        found = _OBJECT.fullmatch(name)
        if found is None:
            return self.functions.get(name, name)
        if found[2] is None:
            return self.functions.get(found[1], "")
        return f"{self.kinds.get(found[1], '')}.{found[2]}"


@dataclass
class Known:
    """What the file's own functions do with tensors, by path: which arguments become weights of layers (`uses`) or
    operands of products, and which functions give back what they make of stored tensors (`gives`)."""

    uses: dict[str, set[int]] = field(default_factory=dict)
    operands: dict[str, set[int]] = field(default_factory=dict)
    gives: set[str] = field(default_factory=set)

    @property
    def size(self) -> int:
        """How much is known; it grows until all is."""
        return len(self.gives) + sum(map(len, (*self.uses.values(), *self.operands.values())))


def is_weight(expression: str, scope: Scope) -> bool:
    """Whether a value is a stored tensor, a constant or an argument, a view of one, or composed of a weight's parts as
    torch composes them."""
    for _ in range(DEEPEST):
        if not _CALL.fullmatch(expression):
            name = _INDEX.sub("", expression).strip("()")
            return expression.startswith("CONSTANTS.") or (name in scope.weights and name not in scope.others)
        # None where its brackets do not match.
        name, arguments = next(reversed(calls(expression)), ("", ()))
        if name in _COMPOSED:
            return {scope.leaves.get(given, "") for given in arguments[:2]} in _COMPOSED[name]
        own, _, leaf = name.rpartition(".")
        if leaf not in _VIEWS or own not in ("torch", ""):
            return False
        expression = arguments[1 if name in _CASTS and len(arguments) > 1 else 0]
    return False


def is_derived(expression: str, scope: Scope) -> bool:
    """Whether a value is computed of stored tensors alone."""
    names = variables(expression)
    computed = bool(called(expression) - _VIEWS) or bool(names & scope.derived)
    return (
        bool(names) and computed and names <= scope.stored | scope.derived and not _is_data(expression, scope)
    )


def is_made(expression: str, scope: Scope, known: Known) -> bool:
    """Whether a value is computed of a layer's weights, whatever else goes into it, but not by a layer."""
    if is_weight(expression, scope):
        return False
    own = [(scope.function(name), arguments) for name, arguments in calls(expression) if _is_own(name, scope)]
    if any(path in known.gives for path, _ in own):
        return True
    for path, arguments in own:
        held = frozenset().union(*map(variables, arguments)) & (scope.matrices | scope.made)
        if held and path not in known.uses and path not in known.operands:
            return True
    tainted = variables(expression) & (scope.matrices | scope.made)
    return bool(tainted) and not own and not _is_data(expression, scope)


def _is_own(name: str, scope: Scope) -> bool:
    return name.startswith("(") or name in scope.functions


def _is_data(expression: str, scope: Scope) -> bool:
    """Whether the outermost call is a layer's, or one of the file's own functions'; of a norm on data, not weights."""
    if not _CALL.fullmatch(expression):
        return False
    name, arguments = next(reversed(calls(expression)), ("", ("",)))
    if _NORM.fullmatch(name) and variables(arguments[0]) & (scope.matrices | scope.made):
        return False
    return _is_own(name, scope) or _ON_DATA.fullmatch(name) is not None


def assign(names: Iterable[str], expression: str, scope: Scope, known: Known) -> None:
    """Note what variables are given. What is computed in one branch stays so, whatever another one gives."""
    view, held = is_weight(expression, scope), variables(expression)
    marks = (
        (scope.weights, view),
        (scope.stored, view and held <= scope.stored),
        (scope.matrices, view and bool(held & scope.matrices)),
        (scope.counters, False),
    )
    derived, made = is_derived(expression, scope), is_made(expression, scope, known)
    for name in names:
        for group, belongs in marks:
            (group.add if belongs else group.discard)(name)
        scope.derived |= {name} if derived else set()
        scope.made |= {name} if made else set()
        scope.others |= set() if view or expression.startswith(_NOTHING) else {name}
        for table in (scope.kinds, scope.functions, scope.leaves):
            table.pop(name, None)


def places_of(expression: str, scope: Scope, first: int) -> Iterator[int]:
    """Which arguments of its function, as callers count them, an expression names; the first is at `first`."""
    for name in variables(expression):
        if name in scope.arguments[first:]:
            yield scope.arguments.index(name) - first

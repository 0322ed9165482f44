"""The page on how it is built names every room of the package, in an order in which imports run one way."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "weightfeat"
PAGE = (REPOSITORY / "docs/explanation/how-it-is-built.md").read_text()
ROOMS = [
    name
    for name in re.findall(r"^\| `([a-z]+)` \|", PAGE.split("## Beside the package")[0], flags=re.MULTILINE)
]


def _imported(room: str) -> set[str]:
    """The other rooms that a room's modules import, at their top or within."""
    found: set[str] = set()
    for module in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            package, _, rest = node.module.partition(".")
            if package == "weightfeat":
                found |= {rest.split(".")[0]} if rest else {alias.name for alias in node.names}
    return found - {room}


def test_every_room_is_on_the_page() -> None:
    assert sorted(ROOMS) == sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def test_a_room_imports_only_rooms_that_stand_before_it() -> None:
    for place, room in enumerate(ROOMS):
        later = _imported(room) & set(ROOMS[place:])
        assert not later, f"{room} imports {later}, which the page names after it"

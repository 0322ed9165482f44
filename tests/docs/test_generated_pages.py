"""The reference is what the code says of itself: nothing is left out, nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reference_pages import command_parser, commands_page, markdown_of, metaparameters_page
from weightfeat.cli import COMMANDS

REPOSITORY = Path(__file__).parents[2]
SCHEMA = json.loads((REPOSITORY / "metaparameters_schema.json").read_text())
SHIPPED = json.loads((REPOSITORY / "metaparameters.json").read_text())
WORDS = st.text("abc xyz", min_size=1).map(str.strip).filter(bool)


def test_every_command_is_shown_with_its_whole_help() -> None:
    page = commands_page()
    for name, purpose in COMMANDS.items():
        assert f"\n## weightfeat {name}\n" in page
        assert purpose[1:] in page
        assert command_parser(name).format_help().rstrip() in page


def test_every_metaparameter_is_shown_with_its_value_its_bounds_and_its_meaning() -> None:
    lines = metaparameters_page(SCHEMA, SHIPPED).splitlines()
    for name, rules in SCHEMA["properties"].items():
        (row,) = (line for line in lines if line.startswith(f"| `{name}` |"))
        assert f"| `{json.dumps(SHIPPED[name])}` |" in row
        assert rules["description"] in row
        assert all(f"{rules[bound]}" in row for bound in ("minimum", "maximum") if bound in rules)


def test_a_list_of_values_is_shown_as_such() -> None:
    rules = {"description": "How.", "enum": ["fast", 3]}
    page = metaparameters_page({"properties": {"infer_way": rules}}, {"infer_way": "fast"})
    assert "| `infer_way` | `fast` | `fast`, `3` | How. |" in page


def test_sections_of_a_docstring_become_lists_and_what_follows_stays_text() -> None:
    docstring = (
        "Of :func:`a.b`.\n\nParameters\n----------\nx : one,\n    and more.\ny : two.\n\nAfter.\n\n"
        "Raises\n------\nValueError : never.\n\nExamples\n--------\n>>> 1 + 1\n2"
    )
    assert markdown_of(docstring) == (
        "Of `a.b`.\n\n**Parameters**\n\n- `x`: one, and more.\n- `y`: two.\n\nAfter.\n\n"
        "**Raises**\n\n- `ValueError`: never.\n\n**Examples**\n\n```pycon\n>>> 1 + 1\n2\n```"
    )


@given(st.lists(WORDS, min_size=1))
def test_a_docstring_without_sections_stays_as_it_is(paragraphs: list[str]) -> None:
    text = "\n\n".join(paragraphs)
    assert markdown_of(text) == text

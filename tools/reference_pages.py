"""The pages of the documentation that the code itself writes: commands, metaparameters, docstrings as Markdown.

Pure functions from the code's own words to Markdown, called at every build (`tools/docs_hooks.py`): what is read in
the documentation cannot fall behind what the program does.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from weightfeat.cli import COMMANDS

WIDTH = 100
SECTIONS = ("Parameters", "Returns", "Raises", "Examples", "Notes")


def command_parser(name: str) -> argparse.ArgumentParser:
    """The options of one subcommand, as `weightfeat NAME --help` shows them, at a width of its own."""

    def formatter(prog: str) -> argparse.HelpFormatter:
        return argparse.HelpFormatter(prog, width=WIDTH)

    parser = argparse.ArgumentParser(prog=f"weightfeat {name}", formatter_class=formatter)
    import_module(f"weightfeat.commands.{name}").add_arguments(parser)
    return parser


def commands_page() -> str:
    """Every subcommand: what it is for, and its help."""
    parts = [
        "# Commands",
        "`weightfeat COMMAND --help` prints the same. `train_meta.py` takes the same commands. "
        "How they end: [exit codes](exit-codes.md).",
        _table(
            ("command", "what it does"),
            [(f"[`{name}`](#weightfeat-{name})", purpose) for name, purpose in COMMANDS.items()],
        ),
    ]
    for name, purpose in COMMANDS.items():
        text = command_parser(name).format_help().rstrip()
        parts += [f"## weightfeat {name}", f"{purpose[0].upper()}{purpose[1:]}.", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def metaparameters_page(schema: Mapping[str, Any], shipped: Mapping[str, Any]) -> str:
    """Every metaparameter: its shipped value, what it may be, what it does; from the schema and the shipped file."""
    parts = [
        "# Metaparameters",
        "What `metaparameters.json` holds. `metaparameters_schema.json` says what each may be; a value outside its "
        "bounds, a name too many or too few is refused in one line. `weightfeat tune` searches them.",
    ]
    for prefix, heading in (
        ("train_", "## Of learning\n\nThey act in `weightfeat configure`, `cv` and `tune`."),
        ("infer_", "## Of detection\n\nThey act wherever a network is judged."),
    ):
        rows = [
            (f"`{name}`", f"`{_json(shipped[name])}`", _allowed(rules), rules["description"])
            for name, rules in schema["properties"].items()
            if name.startswith(prefix)
        ]
        parts += [heading, _table(("name", "shipped", "may be", "what it does"), rows)]
    return "\n\n".join(parts) + "\n"


def markdown_of(docstring: str) -> str:
    """A docstring of the project as Markdown.

    Its sections (`Parameters`, `Raises`, ... underlined with dashes) hold items `name : what it is`, which continue
    on indented lines and end at a blank one; its examples are doctests.

    Examples
    --------
    >>> print(markdown_of("Add.\\n\\nRaises\\n------\\nValueError : too\\n    large."))
    Add.
    <BLANKLINE>
    **Raises**
    <BLANKLINE>
    - `ValueError`: too large.
    """
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", docstring)
    parts: list[str] = []
    items = False
    for block in re.split(r"\n\s*\n", text):
        heading, dashes, body = (*block.split("\n", 2), "", "")[:3]
        if heading in SECTIONS and set(dashes.strip()) == {"-"}:
            parts.append(f"**{heading}**")
            items, block = heading in ("Parameters", "Raises"), body
        if block.lstrip().startswith(">>>"):
            parts.append(f"```pycon\n{block}\n```")
        elif items and block:
            parts.append(_items(block))
            items = False
        elif block:
            parts.append(block)
    return "\n\n".join(parts)


def notebook_page(notebook: Mapping[str, Any]) -> str:
    """A notebook as a page: its text, its code, and what each cell said when it was last run."""
    parts: list[str] = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        parts += [_output(output) for output in cell.get("outputs", ())]
    return "\n\n".join(parts) + "\n"


def _output(output: Mapping[str, Any]) -> str:
    """What a cell printed, or what it returned: as a table where it is one."""
    returned = output.get("data", {})
    if "text/html" in returned:
        return "".join(returned["text/html"])
    said = "".join(output.get("text", ()) or returned["text/plain"]).rstrip()
    return f"```text\n{said}\n```"


def _items(block: str) -> str:
    """Lines `name : meaning`, continued on indented ones, as a list."""
    joined = re.sub(r"\n\s+", " ", block)
    pairs = [line.partition(" : ") for line in joined.splitlines()]
    return "\n".join(f"- `{name}`: {meaning}" if colon else f"- {name}" for name, colon, meaning in pairs)


def _allowed(rules: Mapping[str, Any]) -> str:
    """What a metaparameter may be, in words."""
    if "enum" in rules:
        return ", ".join(f"`{_json(value)}`" for value in rules["enum"])
    if rules["type"] == "boolean":
        return "`true`, `false`"
    low, high = (_json(rules[bound]) for bound in ("minimum", "maximum"))
    return f"{'whole number, ' if rules['type'] == 'integer' else ''}{low} to {high}"


def _json(value: object) -> str:
    """A JSON scalar as its file writes it."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else f"{value}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)

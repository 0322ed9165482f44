"""The checks NIST makes on paper: the schema checker's nine rules, the header's values, the container's name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from weightfeat.metaparameters import read_json
from weightfeat.metaparameters.rules import check_schema
from weightfeat.server.preflight.lines import Line, State, line

__all__ = ["container_name", "files_in_place", "schema_rules"]

RULES: dict[str, tuple[str, str]] = {
    "rule 1": ("rule 1: both files are JSON objects", "correct the file's JSON"),
    "rule 2": ("rule 2: $schema is there", 'add "$schema": "http://json-schema.org/draft-07/schema#"'),
    "rule 3": (
        "rule 3: it still holds with additionalProperties forced to false",
        "declare every key in use",
    ),
    "rule 4": ("rule 4: the metaparameters validate", "change the value or the schema"),
    "rule 5": ("rule 5: the header is complete", "add the key"),
    "rule 6": ("rule 6: properties are there", "describe every metaparameter under properties"),
    "rule 7": ("rule 7: every string has an enum", "list the strings it may be; const does not count"),
    "rule 8": ("rule 8: every number has both bounds", "add minimum and maximum"),
    "rule 9": ("rule 9: schema and metaparameters have the same names", "add or remove the name"),
    "form": (
        "forms: only those the checker can vary",
        "use numbers, booleans, null, enums, arrays of objects",
    ),
    "header": ("header: own values, technique types of the list", "say it in your own words"),
}
CONTAINER = re.compile(r"(?P<leaderboard>[^_\s/]+)_(?P<split>[^_\s/]+)_(?P<container>[^\s/]+)\.simg")


def schema_rules(metaparameters: Path, schema: Path) -> list[Line]:
    """A line a rule; where a file is not JSON, the other rules cannot be looked at."""
    documents: list[Any] = []
    for path in (schema, metaparameters):
        try:
            documents.append(read_json(path))
        except (OSError, ValueError) as error:
            return [Line(State.PROBLEM, RULES["rule 1"][0], f"{path}: {error}", RULES["rule 1"][1])]
    by_rule: dict[str, list[str]] = {rule: [] for rule in RULES}
    for problem in check_schema(*documents):
        rule, _, what = problem.partition(": ")
        # A key that only the forced additionalProperties refuses is the third rule's.
        if rule == "rule 4" and "Additional properties are not allowed" in what:
            rule = "rule 3"
        by_rule[rule].append(what)
    if by_rule["rule 1"]:
        return [line(RULES["rule 1"][0], by_rule["rule 1"], RULES["rule 1"][1])]
    return [line(what, by_rule[rule], remedy) for rule, (what, remedy) in RULES.items()]


def files_in_place(metaparameters: Path, schema: Path, learned: Path, program: Path) -> list[Line]:
    """The files a container must hold, each readable and not empty."""
    return [
        line("the program is in place", _absent(program), "copy detect.py into the container"),
        line("metaparameters.json is in place", _absent(metaparameters), "copy it to /metaparameters.json"),
        line("the schema is in place", _absent(schema), "copy it to /metaparameters_schema.json"),
        line("learned parameters are in place", _empty(learned), "run configure, then copy the folder"),
    ]


def _absent(path: Path) -> list[str]:
    if not path.is_file():
        return [f"{path} is absent"]
    return [] if path.stat().st_size else [f"{path} is empty"]


def _empty(folder: Path) -> list[str]:
    if not folder.is_dir():
        return [f"{folder} is absent"]
    return [] if any(folder.iterdir()) else [f"{folder} is empty"]


def container_name(name: str) -> Line:
    """`<leaderboard>_<split>_<container>.simg`: the first two words say where a submission goes."""
    found = CONTAINER.fullmatch(Path(name).name)
    if found is None:
        problem = f"{Path(name).name!r} is not <leaderboard>_<split>_<container>.simg"
        return line(
            "the container's file name", [problem], "rename it, as image-classification_sts_mine.simg"
        )
    said = ", ".join(f"{key} {value}" for key, value in found.groupdict().items())
    return Line(State.OK, "the container's file name", said)

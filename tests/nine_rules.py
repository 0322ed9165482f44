"""NIST's nine rules for a metaparameter schema stated plainly, and seeded pairs of files that keep or break them.

The statement shares no code with the program: it is what the sweep of the pre-flight is held against.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import jsonschema

Pair = dict[str, Any]  # "schema" and "values"


def passes(schema: Any, values: Any) -> bool:
    """Whether the pair passes all nine rules."""
    if not isinstance(schema, dict) or not isinstance(values, dict):  # 1
        return False
    if "$schema" not in schema:  # 2
        return False
    schema = copy.deepcopy(schema)
    schema["additionalProperties"] = False  # 3
    for definition in schema.get("$defs", {}).values():
        definition["additionalProperties"] = False
    try:
        jsonschema.validate(values, schema)  # 4
    except (jsonschema.ValidationError, jsonschema.SchemaError):
        return False
    header = (
        "technique",
        "technique_description",
        "technique_changes",
        "commit_id",
        "repo_name",
        "technique_type",
    )
    if any(key not in schema for key in header):  # 5
        return False
    if "properties" not in schema:  # 6
        return False
    if not all(varies(rule, schema) for rule in schema["properties"].values()):  # 7, 8 and the forms
        return False
    return same_names(schema["properties"], values, schema)  # 9


def varies(rule: dict[str, Any], schema: dict[str, Any]) -> bool:
    """Whether a checker that draws values could draw this one."""
    if "$ref" in rule:
        rule = schema["$defs"][rule["$ref"].split("/")[-1]]
    kind = rule.get("type")
    if isinstance(kind, list) or "oneOf" in rule:
        return False
    if "enum" in rule:  # drawn from before anything else is looked at: a number with one needs no bounds
        return True
    if kind in ("boolean", "null"):
        return True
    if kind == "string":
        return False
    if kind in ("number", "integer"):
        low = {"minimum", "suggested_minimum", "exclusiveMinimum"} & set(rule)
        high = {"maximum", "suggested_maximum", "exclusiveMaximum"} & set(rule)
        return bool(low) and bool(high)
    if kind == "array":
        items = rule.get("items", {})
        if "$ref" in items:
            items = schema["$defs"][items["$ref"].split("/")[-1]]
        return "properties" in items and all(varies(r, schema) for r in items["properties"].values())
    return False


def same_names(properties: dict[str, Any], values: dict[str, Any], schema: dict[str, Any]) -> bool:
    """Whether both name the same parameters, and every object in an array those of its items."""
    if properties.keys() != values.keys():
        return False
    for name, rule in properties.items():
        if rule.get("type") == "array":
            items = rule["items"]
            items = schema["$defs"][items["$ref"].split("/")[-1]] if "$ref" in items else items
            if not all(same_names(items["properties"], element, schema) for element in values[name]):
                return False
    return True


def drawn_pair(rng: random.Random) -> Pair:
    """A valid pair of three to eight properties of every form, with zero to two changes from FAULTS."""
    pair = _valid(rng)
    for fault in rng.sample(sorted(FAULTS), rng.choice((0, 0, 1, 1, 2))):
        FAULTS[fault](pair, rng)
    return pair


def _valid(rng: random.Random) -> Pair:
    properties: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for number in range(rng.randint(3, 8)):
        name = f"{rng.choice(('train', 'infer'))}_{number}"
        properties[name], values[name] = rng.choice(FORMS)(rng)
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "a sweep",
        "technique": "none",
        "technique_description": "drawn at random",
        "technique_changes": "all of it",
        "commit_id": f"{rng.getrandbits(64):016x}",
        "repo_name": "sweep",
        "technique_type": [rng.choice(("Weight Analysis", "Trigger Inversion", "Other"))],
        "type": "object",
        "additionalProperties": rng.choice((True, False)),
        "properties": properties,
        "$defs": {"size": {"type": "object", "properties": {"width": _number(rng)[0]}}},
    }
    return {"schema": schema, "values": values}


def _number(rng: random.Random) -> tuple[dict[str, Any], Any]:
    low, width = rng.randint(-5, 5), rng.randint(2, 9)
    lower, upper = rng.choice(
        (("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum"), ("minimum", "maximum"))
    )
    rule = {"type": rng.choice(("number", "integer")), lower: low, upper: low + width}
    return rule, low + 1


def _suggested(rng: random.Random) -> tuple[dict[str, Any], Any]:
    return {"type": "number", "suggested_minimum": 0, "suggested_maximum": 1}, rng.randint(-9, 9)


def _string(rng: random.Random) -> tuple[dict[str, Any], Any]:
    return {"type": "string", "enum": ["a", "b", "c"]}, rng.choice("abc")


def _objects(rng: random.Random) -> tuple[dict[str, Any], Any]:
    inner, value = _number(rng)
    items = {"type": "object", "properties": {"x": inner}}
    return {"type": "array", "items": items}, [{"x": value}] * rng.randint(0, 2)


FORMS: list[Callable[[random.Random], tuple[dict[str, Any], Any]]] = [
    _number,
    _number,
    _suggested,
    _string,
    _objects,
    lambda rng: ({"type": "boolean"}, rng.random() < 0.5),
    lambda rng: ({"type": "null"}, None),
    lambda rng: ({"type": "array", "items": {"$ref": "#/$defs/size"}}, []),
]


def _drop(key: str) -> Callable[[Pair, random.Random], None]:
    return lambda pair, rng: pair["schema"].pop(key, None)


def _some(pair: Pair, rng: random.Random) -> str:
    return rng.choice(sorted(pair["values"])) if pair["values"] else "none"


def _becomes(rule: dict[str, Any], value: Any) -> Callable[[Pair, random.Random], None]:
    def change(pair: Pair, rng: random.Random) -> None:
        name = _some(pair, rng)
        pair["schema"].setdefault("properties", {})[name] = rule
        pair["values"][name] = value

    return change


def _extra_value(pair: Pair, rng: random.Random) -> None:
    pair["values"]["surplus"] = 1


def _extra_property(pair: Pair, rng: random.Random) -> None:
    pair["schema"].setdefault("properties", {})["surplus"] = {"type": "boolean"}


def _lost_value(pair: Pair, rng: random.Random) -> None:
    pair["values"].pop(_some(pair, rng), None)


def _wrong_value(pair: Pair, rng: random.Random) -> None:
    pair["values"][_some(pair, rng)] = {"neither": "this"}


def _list_of_values(pair: Pair, rng: random.Random) -> None:
    pair["values"] = {"values": 1} if rng.random() < 0.5 else {}


_PAIRS = {
    "type": "array",
    "items": {"type": "object", "properties": {"x": {"type": "boolean"}, "y": {"type": "boolean"}}},
}

FAULTS: dict[str, Callable[[Pair, random.Random], None]] = {
    **{
        f"no {key}": _drop(key)
        for key in (
            *("$schema", "properties", "technique", "technique_description", "technique_changes"),
            *("commit_id", "repo_name", "technique_type", "additionalProperties"),
        )
    },
    "free string": _becomes({"type": "string"}, "a"),
    "const string": _becomes({"type": "string", "const": "a"}, "a"),
    "no upper bound": _becomes({"type": "number", "minimum": 0}, 1),
    "no lower bound": _becomes({"type": "integer", "maximum": 9}, 1),
    "half suggested": _becomes({"type": "integer", "suggested_minimum": 0}, 1),
    "mixed bounds": _becomes({"type": "integer", "minimum": 0, "suggested_maximum": 9}, 1),
    "out of bounds": _becomes({"type": "number", "minimum": 0, "maximum": 1}, 2),
    "not one of them": _becomes({"type": "string", "enum": ["a"]}, "b"),
    "types in a list": _becomes({"type": ["number", "null"], "minimum": 0, "maximum": 1}, 1),
    "one of": _becomes({"oneOf": [{"type": "number", "minimum": 0, "maximum": 1}]}, 1),
    "nested object": _becomes({"type": "object", "properties": {"x": {"type": "boolean"}}}, {"x": True}),
    "array of numbers": _becomes(
        {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}}, [1]
    ),
    "array without items": _becomes({"type": "array"}, []),
    "objects without bounds": _becomes(
        {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}}, [{"x": 1}]
    ),
    "numbers of an enum": _becomes({"type": "number", "enum": [0.5, 1]}, 1),
    "enum without a type": _becomes({"enum": [1, "a"]}, "a"),
    "enum of types in a list": _becomes({"type": ["string", "null"], "enum": ["a", None]}, "a"),
    "not one of the numbers": _becomes({"type": "integer", "enum": [1, 2]}, 3),
    "objects without a type": _becomes(
        {"type": "array", "items": {"properties": {"x": {"type": "boolean"}}}}, [{"x": True}]
    ),
    "an object lacks a key": _becomes(_PAIRS, [{"x": True, "y": False}, {"x": True}]),
    "an object has a key too many": _becomes(_PAIRS, [{"x": True, "y": False, "z": True}]),
    "objects with all keys": _becomes(_PAIRS, [{"x": True, "y": False}] * 2),
    "surplus in $defs' object": _becomes(
        {"type": "array", "items": {"$ref": "#/$defs/size"}}, [{"height": 1}]
    ),
    "surplus value": _extra_value,
    "surplus property": _extra_property,
    "lost value": _lost_value,
    "wrong value": _wrong_value,
    "other values": _list_of_values,
    "impossible schema": lambda pair, rng: pair["schema"].update(required=3),
}

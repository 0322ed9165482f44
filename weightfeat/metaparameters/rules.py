"""The rules that NIST's submission checker has for a metaparameter schema, and validation by one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["check_schema", "some_names", "violations"]

HEADER = (
    "technique",
    "technique_description",
    "technique_changes",
    "commit_id",
    "repo_name",
    "technique_type",
)
TECHNIQUE_TYPES = (
    "Weight Analysis", "Trigger Inversion", "Attribution Analysis", "Jacobian Inspection", "Other",
)  # fmt: skip
# What NIST's example repository ships in its schema: a submission that still has one of these is turned away.
TEMPLATE_VALUES: dict[str, tuple[str, ...]] = {
    "title": (
        "Trojan Detection Container (trojai-example) - The template detector to be used within the TrojAI competition.",
        "Algorithm Meta-Parameters",
    ),
    "technique_description": (
        "Extracts model weights and trains a random forest regressor.",
        "Technique description",
    ),
    "technique_changes": (
        "Output metaparameter.json file after reconfiguration",
        "Technique changes from submission to submission",
    ),
    "commit_id": ("", "5b078e7fa98ac4c3d1393376d8db1ffa4e976e52"),
    "repo_name": ("https://github.com/usnistgov/trojai-example",),
}
LOWER = ("minimum", "suggested_minimum", "exclusiveMinimum")
UPPER = ("maximum", "suggested_maximum", "exclusiveMaximum")
ENDLESS = "the schema refers to itself without end, or is nested too deeply"


def check_schema(schema: object, metaparameters: object) -> list[str]:
    """Problems by the nine rules of NIST's submission checker and by its header check; empty when all pass.

    1 both are JSON objects; 2 `$schema`; 3 `additionalProperties: false`, forced at the root and in `$defs`; 4 the
    values validate; 5 the header's keys; 6 `properties`; 7 strings need `enum`; 8 numbers need both bounds; 9 the
    parameter sets match both ways, those of objects in an array too. An `enum` does instead of bounds: the checker
    draws from it before it looks at the type. Forms the checker cannot vary (type lists, oneOf, nested objects, arrays
    of scalars) are problems too.
    """
    if not isinstance(schema, dict) or not isinstance(metaparameters, dict):
        return ["rule 1: the schema and the metaparameters must both be JSON objects"]
    problems = [] if "$schema" in schema else ["rule 2: $schema is missing"]
    problems += [f"rule 4: {path or 'root'}: {what}" for path, what, _ in violations(schema, metaparameters)]
    problems += [f"rule 5: {key} is missing" for key in HEADER if key not in schema]
    problems += _header_problems(schema)
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return [*problems, "rule 6: properties is missing"]
    definitions = schema.get("$defs")
    definitions = definitions if isinstance(definitions, dict) else {}
    try:
        for name, rule in properties.items():
            problems += _property_problems(name, rule, definitions)
    except RecursionError:
        problems.append(f"form: {ENDLESS}")
    return problems + _unmatched(properties, metaparameters, definitions)


def violations(schema: Mapping[str, Any], values: Any) -> list[tuple[str, str, str]]:
    """(dotted path, what is wrong, what was expected) for every violation, in the order of the schema."""
    import jsonschema
    import referencing

    try:
        closed = _closed(schema)
        validator = jsonschema.validators.validator_for(closed, default=jsonschema.Draft7Validator)
        validator.check_schema(closed)
        # An empty registry: a $ref may point into this schema, never to the network.
        found = list(validator(closed, registry=referencing.Registry()).iter_errors(values))
    except jsonschema.exceptions.SchemaError as error:
        return [("", f"the schema is not valid: {error.message}", "a valid JSON schema")]
    except referencing.exceptions.Unresolvable as error:
        return [
            ("", f"the schema refers to {error.ref}, which it does not hold", "references within the schema")
        ]
    except RecursionError:
        return [("", ENDLESS, "a schema with an end")]
    order = {name: at for at, name in enumerate(schema.get("properties", {}))}
    found.sort(key=lambda error: order.get(str(next(iter(error.absolute_path), "")), -1))
    return [_described(error) for error in found]


def _described(error: Any) -> tuple[str, str, str]:
    path = ".".join(str(part) for part in error.absolute_path)
    rule = error.schema if path and isinstance(error.schema, dict) else {}
    return path, f"value {error.instance!r}" if rule else error.message, _bounds(rule) or str(error.message)


def _bounds(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return "one of " + ", ".join(map(str, rule["enum"]))
    low, high = (next((rule[key] for key in keys if key in rule), None) for keys in (LOWER, UPPER))
    kind = {"integer": "an integer", "number": "a number", "boolean": "true or false"}.get(
        str(rule.get("type")), ""
    )
    return f"{kind} from {low} to {high}" if low is not None and high is not None else kind


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    closed = copy.deepcopy(dict(schema))
    closed["additionalProperties"] = False
    definitions = closed.get("$defs", {})
    for definition in definitions.values() if isinstance(definitions, dict) else ():
        if isinstance(definition, dict):
            definition["additionalProperties"] = False
    return closed


def _header_problems(schema: Mapping[str, Any]) -> list[str]:
    problems = []
    for key, template in TEMPLATE_VALUES.items():
        value = schema.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip() or value in template):
            problems.append(f"header: {key} is empty or still the template's")
    if not schema.get("title"):
        problems.append("header: title is missing")
    types = schema.get("technique_type", [])
    if not isinstance(types, list) or not types or any(kind not in TECHNIQUE_TYPES for kind in types):
        problems.append(f"header: technique_type must be a list of some of {', '.join(TECHNIQUE_TYPES)}")
    return problems


def _property_problems(name: str, rule: object, definitions: Mapping[str, Any]) -> list[str]:
    rule = _resolved(rule, definitions)
    if not isinstance(rule, dict):
        return [f"form: {name} is not described by an object"]
    if "oneOf" in rule or isinstance(rule.get("type"), list):
        return [f"form: {name} uses oneOf or a list of types"]
    if "enum" in rule or rule.get("type") in ("boolean", "null"):
        return []
    if rule.get("type") == "string":
        return [f"rule 7: {name} is a string without enum"]
    if rule.get("type") in ("number", "integer"):
        sides = (("lower", LOWER), ("upper", UPPER))
        return [
            f"rule 8: {name} has no {side} bound"
            for side, keys in sides
            if not any(key in rule for key in keys)
        ]
    if (inner := _of_objects(rule, definitions)) is not None:
        return [
            p for key, sub in inner.items() for p in _property_problems(f"{name}.{key}", sub, definitions)
        ]
    return [f"form: {name} is neither a number, a boolean, null, an enum nor an array of objects"]


def _unmatched(
    properties: Mapping[str, Any], values: Mapping[str, Any], definitions: Mapping[str, Any], path: str = ""
) -> list[str]:
    problems = [f"rule 9: {path}{name} is in the schema only" for name in properties if name not in values]
    problems += [
        f"rule 9: {path}{name} is in the metaparameters only" for name in values if name not in properties
    ]
    for name, rule in properties.items():
        inner, elements = _of_objects(_resolved(rule, definitions), definitions), values.get(name)
        for at, element in enumerate(elements if inner is not None and isinstance(elements, list) else []):
            if isinstance(element, dict):
                problems += _unmatched(inner or {}, element, definitions, f"{path}{name}.{at}.")
    return problems


def _of_objects(rule: object, definitions: Mapping[str, Any]) -> dict[str, Any] | None:
    """The properties of the objects in an array, None where `rule` describes no such array."""
    if not isinstance(rule, dict) or rule.get("type") != "array":
        return None
    items = _resolved(rule.get("items"), definitions)
    inner = items.get("properties") if isinstance(items, dict) else None
    return inner if isinstance(inner, dict) else None


def _resolved(rule: object, definitions: Mapping[str, Any]) -> object:
    """What a `$ref` into `$defs` stands for; anything else as it is."""
    if isinstance(rule, dict) and isinstance(rule.get("$ref"), str):
        return definitions.get(rule["$ref"].removeprefix("#/$defs/"))
    return rule


def some_names(names: Iterable[object]) -> str:
    listed = sorted(str(name) for name in names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")

"""The two files agree with the dataclass, pass NIST's rules, and every violation is named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from weightfeat.errors import BadMetaparameters
from weightfeat.metaparameters import Metaparameters, check_schema, load, search_space

ROOT = Path(__file__).resolve().parents[2]
VALUES, SCHEMA = ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json"


@pytest.fixture
def values() -> dict[str, Any]:
    return json.loads(VALUES.read_text())


@pytest.fixture
def schema() -> dict[str, Any]:
    return json.loads(SCHEMA.read_text())


def written(folder: Path, values: object) -> Path:
    path = folder / "metaparameters.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_schema_dataclass_and_values_name_the_same_parameters(values: dict, schema: dict) -> None:
    assert list(schema["properties"]) == list(Metaparameters.names()) == list(values) == schema["required"]


def test_names_say_who_uses_them() -> None:
    assert all(name.startswith(("train_", "infer_")) for name in Metaparameters.names())


def test_every_number_is_bounded_on_both_sides(schema: dict) -> None:
    for name, rule in schema["properties"].items():
        assert rule["description"], name
        if rule["type"] in ("number", "integer"):
            assert rule["minimum"] < rule["maximum"], name
            assert (
                rule["minimum"] <= rule["suggested_minimum"] < rule["suggested_maximum"] <= rule["maximum"]
            ), name
        else:
            assert rule["type"] == "boolean" or len(rule["enum"]) > 1, name


def test_both_files_pass_every_rule(values: dict, schema: dict) -> None:
    assert check_schema(schema, values) == []


def test_load_gives_every_value_with_its_type(values: dict) -> None:
    params = load(VALUES, SCHEMA)
    assert params.as_dict() == values
    assert params.train_dict() | params.infer_dict() == values
    assert type(params.train_shrinkage) is float
    assert type(params.train_num_leaves) is int


def test_blocks_are_those_switched_on(values: dict) -> None:
    params = load(VALUES, SCHEMA)
    assert "moments" not in params.blocks
    switched = params.replace(train_block_data=True, train_block_layers=True, train_block_head=False)
    layers = ("spectrum", "distribution", "channels", "quantiles", "alignment")
    data = ("moments", "training_length")
    assert switched.blocks == ("norms", "fusion", "relabelling", "latents", *layers, *data)


def test_whole_numbers_may_be_written_as_decimals(tmp_path: Path, values: dict) -> None:
    params = load(written(tmp_path, values | {"train_num_leaves": 9.0, "train_shrinkage": 3}), SCHEMA)
    assert (params.train_num_leaves, params.train_shrinkage) == (9, 3.0)
    assert type(params.train_num_leaves) is int


@pytest.mark.parametrize("name", Metaparameters.names())
def test_a_value_outside_its_bounds_is_named_with_them(
    name: str, tmp_path: Path, values: dict, schema: dict
) -> None:
    rule = schema["properties"][name]
    bad = {"boolean": "yes", "string": "isotonic"}.get(rule["type"], rule.get("maximum", 0) + 1)
    with pytest.raises(BadMetaparameters) as caught:
        load(written(tmp_path, values | {name: bad}), SCHEMA)
    message = str(caught.value)
    assert f": {name}: value {bad!r}" in message
    assert "\n" not in message
    for bound in ("minimum", "maximum"):
        assert str(rule.get(bound, "")) in caught.value.expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train_bogus": 1}, "unknown metaparameter train_bogus"),
        ({"train_num_leaves": None}, "value None"),
        ({"train_num_leaves": True}, "value True"),
        ({"train_num_leaves": 7.5}, "value 7.5"),
        ({"train_num_leaves": [7]}, "value [7]"),
        ({"train_num_leaves": 999, "infer_clip": 9, "infer_prior": 9}, "and 2 more: infer_clip, infer_prior"),
    ],
)
def test_what_does_not_fit_is_said(change: dict, said: str, tmp_path: Path, values: dict) -> None:
    with pytest.raises(BadMetaparameters) as caught:
        load(written(tmp_path, values | change), SCHEMA)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("[1, 2]", "holds a list"),
        ('{"infer_clip": NaN}', "NaN is not a JSON number"),
        ('{"infer_clip": 0.1, "infer_clip": 0.2}', "given twice"),
        ("[" * 100_000, "nested too deeply"),
        ('"' + "x" * (1 << 20) + '"', "larger than"),
        ("{}", "missing metaparameter"),
    ],
)
def test_files_that_are_not_metaparameters(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadMetaparameters, match=said):
        load(written(tmp_path, text), SCHEMA)


def test_absent_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BadMetaparameters, match="cannot be read"):
            load(path, SCHEMA)
        with pytest.raises(BadMetaparameters, match="cannot be read"):
            load(VALUES, path)


def test_a_schema_of_other_parameters_is_refused(tmp_path: Path, schema: dict) -> None:
    del schema["properties"]["infer_clip"]
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema))
    with pytest.raises(BadMetaparameters, match=r"properties differ .*infer_clip"):
        load(VALUES, path)


def test_a_reference_is_never_fetched(tmp_path: Path, schema: dict) -> None:
    schema["properties"]["infer_clip"] = {"$ref": (tmp_path / "other.json").as_uri()}
    (tmp_path / "other.json").write_text("{}")
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema))
    with pytest.raises(BadMetaparameters, match="refers to"):
        load(VALUES, path)


ENDLESS = {
    "a reference to itself": {"$ref": "#/$defs/endless"},
    "objects within themselves": {
        "type": "array",
        "items": {"type": "object", "properties": {"inner": {"$ref": "#/$defs/endless"}}},
    },
}


@pytest.mark.parametrize("form", ENDLESS)
def test_a_schema_without_end_is_said_to_be(form: str, schema: dict, values: dict) -> None:
    schema["$defs"] = {"endless": ENDLESS[form]}
    schema["properties"]["infer_clip"] = {"$ref": "#/$defs/endless"}
    assert any("without end" in line for line in check_schema(schema, values))


def test_a_schema_that_refers_to_itself_is_refused(tmp_path: Path, schema: dict) -> None:
    schema["properties"]["infer_clip"] = {"$ref": "#/properties/infer_clip"}
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema))
    with pytest.raises(BadMetaparameters, match="without end"):
        load(VALUES, path)


def drop(*keys: str):
    def change(schema: dict, values: dict) -> None:
        for key in keys:
            del schema[key]

    return change


def put(key: str, value: object):
    return lambda schema, values: schema.__setitem__(key, value)


def rule(name: str, value: object):
    return lambda schema, values: schema["properties"].__setitem__(name, value)


BROKEN = {
    "rule 2": drop("$schema"),
    "rule 4: root: Additional properties": lambda schema, values: values.__setitem__("extra", 1),
    "rule 4: train_num_leaves": lambda schema, values: values.__setitem__("train_num_leaves", -1),
    "rule 4: root: the schema is not valid": put("required", 3),
    "rule 5: technique is": drop("technique"),
    "rule 5: technique_description": drop("technique_description"),
    "rule 5: technique_changes": drop("technique_changes"),
    "rule 5: commit_id": drop("commit_id"),
    "rule 5: repo_name": drop("repo_name"),
    "rule 5: technique_type": drop("technique_type"),
    "rule 6": drop("properties", "required"),
    "rule 7: train_seed": rule("train_seed", {"type": "string", "const": "platt"}),
    "rule 8: infer_clip has no upper": rule("infer_clip", {"type": "number", "minimum": 0}),
    "rule 8: train_seed has no lower": rule("train_seed", {"type": "integer", "suggested_maximum": 9}),
    "rule 9: infer_new is in the schema only": rule("infer_new", {"type": "boolean"}),
    "rule 9: extra is in the metaparameters only": lambda schema, values: values.__setitem__("extra", 1),
    "form: infer_clip uses oneOf": rule("infer_clip", {"oneOf": [{"type": "number"}]}),
    "form: infer_prior uses oneOf or a list": rule("infer_prior", {"type": ["number", "null"]}),
    "form: infer_prior is neither": rule("infer_prior", {"type": "object", "properties": {}}),
    "form: infer_clip is neither": rule("infer_clip", {"type": "array", "items": {"type": "number"}}),
    "header: title is missing": drop("title"),
    "header: commit_id is empty": put("commit_id", ""),
    "header: repo_name": put("repo_name", "https://github.com/usnistgov/trojai-example"),
    "header: technique_type": put("technique_type", ["Magic"]),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_each_rule_is_noticed(problem: str, schema: dict, values: dict) -> None:
    BROKEN[problem](schema, values)
    kept = copy.deepcopy(schema)
    found = check_schema(schema, values)
    assert any(line.startswith(problem) for line in found), found
    assert schema == kept  # forcing additionalProperties is done on a copy


def test_rule_1_and_3_and_arrays_of_objects(schema: dict, values: dict) -> None:
    assert check_schema([], values)[0].startswith("rule 1")
    schema["additionalProperties"] = True
    values["extra"] = 1
    assert any("rule 4" in line for line in check_schema(schema, values))  # forced to false
    item = {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1, "maximum": 2}}}
    schema["$defs"] = {"item": item}
    schema["properties"]["extra"] = {"type": "array", "items": {"$ref": "#/$defs/item"}}
    values["extra"] = [{"size": 1}]
    assert check_schema(schema, values) == []
    values["extra"] = [{"size": 1, "more": 2}]
    assert any("rule 4: extra.0" in line for line in check_schema(schema, values))


def test_search_space_stays_inside_the_schema(schema: dict) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(10):
        trial = study.ask()
        params = search_space(trial, schema)
        assert check_schema(schema, params.as_dict()) == []
        assert set(trial.params) == set(Metaparameters.names())
        for name, spread in trial.distributions.items():
            bounds = schema["properties"][name]
            wide = bounds.get("minimum", 0) > 0 and bounds["maximum"] / bounds["minimum"] >= 100
            assert getattr(spread, "log", False) == wide, name


def test_search_space_keeps_what_is_fixed(schema: dict) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    params = search_space(trial, schema, {"train_seed": 5, "infer_clip": 0.02})
    assert (params.train_seed, params.infer_clip) == (5, 0.02)
    assert "train_seed" not in trial.params

"""Metaparameters: read, checked against the schema, and offered to a search within the same bounds.

`train_*` values are used by configure, `infer_*` values at detection. Their names and types stand here and nowhere
else; their values in metaparameters.json; their bounds and meaning in metaparameters_schema.json.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from weightfeat.errors import BadMetaparameters
from weightfeat.files import read_regular
from weightfeat.metaparameters.rules import check_schema, some_names, violations

if TYPE_CHECKING:
    import optuna

__all__ = [
    "BLOCKS_OF",
    "BLOCK_PREFIX",
    "Metaparameters",
    "check_schema",
    "load",
    "read_json",
    "search_space",
]

BLOCK_PREFIX = "train_block_"
BLOCKS_OF = {
    "layers": ("spectrum", "distribution", "channels", "quantiles", "alignment"),
    "data": ("moments", "training_length"),
}
"""Feature blocks that one switch is for; every other block has a switch of its own name."""
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Metaparameters:
    """Every value that shapes training (`train_*`) and detection (`infer_*`)."""

    train_block_norms: bool
    train_block_head: bool
    train_block_fusion: bool
    train_block_relabelling: bool
    train_block_latents: bool
    train_block_layers: bool
    train_block_data: bool
    train_class_evidence: bool
    train_class_c: float
    train_class_own_c: float
    train_class_family_c: float
    train_class_squares: float
    train_class_scale_classes: float
    train_class_weight: float
    train_shrinkage: float
    train_keep_raw: bool
    train_num_leaves: int
    train_learning_rate: float
    train_num_trees: int
    train_min_child_samples: int
    train_feature_fraction: float
    train_bagging_fraction: float
    train_lambda_l2: float
    train_ensemble_size: int
    train_folds: int
    train_seed: int
    train_search_trials: int
    infer_clip: float
    infer_prior: float
    infer_novelty_pull: float
    infer_probe: float

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """All parameter names, in the order of the files."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metaparameters:
        """From already validated values: whole numbers written as 7.0 become int, ints become float where due.

        Raises TypeError for another set of names or a value of another type; bounds are the schema's business.
        """
        if set(values) != set(cls.names()):
            raise TypeError(f"metaparameter names differ: {sorted(set(values) ^ set(cls.names()))}")
        hints = get_type_hints(cls)
        return cls(**{name: _typed(name, hints[name], values[name]) for name in cls.names()})

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the feature blocks that are switched on, in the order of the files."""
        switches = (name for name in self.names() if name.startswith(BLOCK_PREFIX))
        on = [name.removeprefix(BLOCK_PREFIX) for name in switches if getattr(self, name)]
        return tuple(block for name in on for block in BLOCKS_OF.get(name, (name,)))

    def as_dict(self) -> dict[str, Any]:
        """All values by name, ready for JSON."""
        return dataclasses.asdict(self)

    def train_dict(self) -> dict[str, Any]:
        """The values that shape the learned parameters."""
        return {name: value for name, value in self.as_dict().items() if name.startswith("train_")}

    def infer_dict(self) -> dict[str, Any]:
        """The values that may change without another configure."""
        return {name: value for name, value in self.as_dict().items() if name.startswith("infer_")}

    def replace(self, **values: Any) -> Metaparameters:
        """A copy with some values changed."""
        return dataclasses.replace(self, **values)


def _typed(name: str, hint: object, value: Any) -> Any:
    if hint is bool and isinstance(value, bool):
        return value
    if hint in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if hint is float:
            return float(value)
        if int(value) == value:
            return int(value)
    raise TypeError(f"metaparameter {name} has the value {value!r} of another type")


def load(metaparameters_path: Path, schema_path: Path) -> Metaparameters:
    """Read both files, validate the values by the schema, and return them.

    Raises BadMetaparameters naming the parameter, its value and its bounds.
    """
    schema = _read_file(schema_path)
    values = _read_file(metaparameters_path)
    properties = schema.get("properties")
    if not isinstance(properties, dict) or set(properties) != set(Metaparameters.names()):
        named = set(properties) if isinstance(properties, dict) else set()
        raise BadMetaparameters(
            f"properties differ from the program's parameters ({some_names(named ^ set(Metaparameters.names()))})",
            where=schema_path,
            expected="one property for every metaparameter of this version",
            remedy="use the schema that came with this version",
        )
    _check_names(metaparameters_path, set(values), set(properties))
    errors = violations(schema, values)
    if errors:
        path, what, expected = errors[0]
        more = f" (and {len(errors) - 1} more: {some_names(e[0] for e in errors[1:])})" if errors[1:] else ""
        raise BadMetaparameters(
            what + more,
            where=f"{metaparameters_path}: {path}" if path else metaparameters_path,
            expected=expected,
            remedy=f"change it; the bounds stand in {schema_path}",
        )
    return Metaparameters.from_dict(values)


def search_space(
    trial: optuna.trial.BaseTrial, schema: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
) -> Metaparameters:
    """Draw one value for every parameter from the schema; `fixed` ones keep the value given.

    Numbers are drawn between the suggested bounds where there are some, else between the hard ones, on a log scale
    where the hard bounds are positive and a factor of 100 or more apart.
    """
    held = dict(fixed or {})
    drawn = {
        name: held[name] if name in held else _draw(trial, name, rule)
        for name, rule in schema["properties"].items()
    }
    return Metaparameters.from_dict(drawn)


def _draw(trial: optuna.trial.BaseTrial, name: str, rule: Mapping[str, Any]) -> Any:
    if "enum" in rule:
        return trial.suggest_categorical(name, rule["enum"])
    if rule["type"] == "boolean":
        return trial.suggest_categorical(name, [True, False])
    low, high = rule["minimum"], rule["maximum"]
    log = low > 0 and high / low >= 100
    low, high = rule.get("suggested_minimum", low), rule.get("suggested_maximum", high)
    if rule["type"] == "integer":
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def read_json(path: Path) -> Any:
    """The file's JSON value. Raises ValueError on NaN, infinities, repeated keys or deep nesting, OSError as usual."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON number")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError(f"a key is given twice among {some_names(key for key, _ in pairs)}")
        return dict(pairs)

    try:
        return json.loads(read_regular(path, MAX_BYTES), parse_constant=refuse, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        value = read_json(Path(path))
    except OSError as error:
        raise BadMetaparameters(
            f"cannot be read ({error.strerror or error})",
            where=path,
            expected="a readable JSON file",
            remedy="give the path of the file that came with this version",
        ) from None
    except ValueError as error:
        raise BadMetaparameters(
            f"is not valid JSON ({error})", where=path, expected="one JSON object", remedy="correct the file"
        ) from None
    if not isinstance(value, dict):
        raise BadMetaparameters(
            f"holds a {type(value).__name__}",
            where=path,
            expected="one JSON object",
            remedy="correct the file",
        )
    return value


def _check_names(path: Path, given: set[str], known: set[str]) -> None:
    if given - known:
        raise BadMetaparameters(
            f"unknown metaparameter {some_names(given - known)}",
            where=path,
            expected=f"only the {len(known)} names of the schema",
            remedy="remove it or correct its name",
        )
    if known - given:
        raise BadMetaparameters(
            f"missing metaparameter {some_names(known - given)}",
            where=path,
            expected=f"all {len(known)} names of the schema",
            remedy="add it",
        )

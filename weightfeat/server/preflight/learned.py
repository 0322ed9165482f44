"""Whether the learned parameters belong to this program and these metaparameters."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from weightfeat import features, metaparameters
from weightfeat.detector import Detector, store
from weightfeat.errors import WeightfeatError
from weightfeat.metaparameters.rules import some_names
from weightfeat.server.preflight.lines import Line, State, line

__all__ = ["learned_parameters"]

RECONFIGURE = "run configure again with this version and these metaparameters"


def learned_parameters(folder: Path, parameters: Path, schema: Path) -> list[Line]:
    """Lines on whether they load, come from this version, fit the metaparameters and the features computed."""
    try:
        learned = Detector.load(folder).learned_
    except WeightfeatError as error:
        return [line("the learned parameters can be read", [f"{error.where}: {error.what}"], error.remedy)]
    lines = [
        Line(State.OK, "the learned parameters can be read"),
        line("they were learned by this version", _other_version(folder), RECONFIGURE),
    ]
    try:
        params = metaparameters.load(parameters, schema)
    except WeightfeatError as error:
        return [*lines, line("the program accepts the metaparameters", [error.what], error.remedy)]
    before, now = learned.params.train_dict(), params.train_dict()
    changed = [name for name in now if before[name] != now[name]]
    computed = set(features.names(params.blocks))
    unknown = [name for name in learned.feature_names if name not in computed]
    return [
        *lines,
        Line(State.OK, "the program accepts the metaparameters"),
        line(
            "they were learned with these train_ values",
            [f"changed: {some_names(changed)}"] * bool(changed),
            RECONFIGURE,
        ),
        line(
            "their features are computed",
            [f"not computed: {some_names(unknown)}"] * bool(unknown),
            RECONFIGURE,
        ),
    ]


def _other_version(folder: Path) -> list[str]:
    written, ours = json.loads((folder / store.FILE).read_text()).get("weightfeat"), version("weightfeat")
    return [] if written == ours else [f"written by {written}, this is {ours}"]

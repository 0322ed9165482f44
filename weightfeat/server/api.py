"""What the harness of each round passes to a detector, and which of a model's files it lays out.

From usnistgov/trojai-test-harness: the early rounds copied the model and its examples, the later ones everything in
the model's folder but what tells its label or how it was trained, and name folders that exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightfeat.server.places import Workspace

__all__ = ["APIS", "SECRET", "Api", "Parameters", "arguments"]

SECRET = (
    *(
        "config.json",
        "ground_truth.csv",
        "*stats.csv",
        "*stats.json",
        "example-accuracy.csv",
        "machine.log",
        "log*.txt",
    ),
    *(
        "poisoned?example?data",
        "trigger*",
        "watermark.json",
        "METADATA*.csv",
        "DATA_LICEN?E.txt",
        "README.txt",
    ),
    "models-packaged",
)
"""Patterns of what no harness lays out, in any round's words: it would tell the label."""


@dataclass(frozen=True)
class Parameters:
    """Paths of the files that a team ships, as the detector sees them."""

    metaparameters: Path = Path("/metaparameters.json")
    schema: Path = Path("/metaparameters_schema.json")
    learned: Path = Path("/learned_parameters")


@dataclass(frozen=True)
class Api:
    """A round's call: its flags after those of all rounds, a word before them, the examples' folder, and whether
    the whole model folder is laid out."""

    flags: Callable[[Workspace, Parameters], list[object]]
    word: tuple[str, ...] = ()
    examples: str = "clean-example-data"
    whole: bool = True


def _text(space: Workspace, parameters: Parameters) -> list[object]:
    active = space.seen_active
    return [
        "--cls_token_is_first",
        *("--tokenizer_filepath", active / "tokenizer.pt", "--embedding_filepath", active / "embedding.pt"),
    ]


def _shipped(space: Workspace, parameters: Parameters) -> list[object]:
    return [
        *("--round_training_dataset_dirpath", space.seen_training),
        *("--metaparameters_filepath", parameters.metaparameters),
        *("--schema_filepath", parameters.schema),
        *("--learned_parameters_dirpath", parameters.learned),
    ]


def _with_source(space: Workspace, parameters: Parameters) -> list[object]:
    return [*_shipped(space, parameters), "--source_dataset_dirpath", space.seen_source]


def _later(space: Workspace, parameters: Parameters) -> list[object]:
    """The later word's flags: a source data set is named only where the round has one."""
    return (_shipped if space.data.source is None else _with_source)(space, parameters)


APIS: Mapping[str, Api] = {
    "1-4": Api(lambda space, parameters: [], examples="example_data", whole=False),
    "5-8": Api(_text, examples="example_data", whole=False),
    "9": Api(lambda space, parameters: [*_text(space, parameters), *_shipped(space, parameters)]),
    "10": Api(_with_source),
    "11": Api(_with_source),
    "infer": Api(_later, word=("infer",)),
}
"""By round. No harness ever passed --features_filepath or --configure_mode."""


def arguments(api: str, space: Workspace, parameters: Parameters) -> list[str]:
    """The detector's arguments under the flags of round `api`, a key of APIS."""
    call, active = APIS[api], space.seen_active
    basic = [
        *("--model_filepath", active / "model.pt", "--result_filepath", active / "result.txt"),
        *("--scratch_dirpath", space.seen_scratch, "--examples_dirpath", active / call.examples),
    ]
    return [str(argument) for argument in (*call.word, *basic, *call.flags(space, parameters))]

"""The command line of every TrojAI round, as one flat set of flags and two later words.

Rounds 1-4, 5-8, 9, 10 and 11 pass flat flags; later ones put `infer` or `configure` first. A flag some round
passes that weight analysis does not need is accepted in silence, a flag nobody knows with one warning: a
harness may grow a flag, and a container that refuses it scores nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, NoReturn

from weightfeat.errors import BadCommandLine

WORDS = ("infer", "configure")
"""First words of the later rounds; others' detectors also mend models (`mitigate`) and test them."""

IGNORED_FLAGS = (
    "examples_dirpath",
    "tokenizer_filepath",
    "embedding_filepath",
    "tokenizers_dirpath",
    "scale_parameters_filepath",
    "round_training_dataset_dirpath",
    "source_dataset_dirpath",
)
"""Flags with a value that rounds pass and weight analysis does not need."""

NAMES = {"__main__.py": "python -m weightfeat.container"}
"""What the program is called where it is not detect.py, by its file's name."""

_PATHS = (
    "model_filepath",
    "result_filepath",
    "scratch_dirpath",
    "features_filepath",
    "metaparameters_filepath",
    "schema_filepath",
    "learned_parameters_dirpath",
    "configure_models_dirpath",
)


@dataclass(frozen=True)
class Request:
    """What a command line asks for; paths as given, None where absent."""

    mode: Literal["infer", "configure"]
    model_filepath: Path | None = None
    result_filepath: Path | None = None
    scratch_dirpath: Path | None = None
    features_filepath: Path | None = None
    metaparameters_filepath: Path | None = None
    schema_filepath: Path | None = None
    learned_parameters_dirpath: Path | None = None
    configure_models_dirpath: Path | None = None
    automatic_configuration: bool = False
    allow_partial: bool = False
    device: str = "auto"
    jobs: int = 0
    unknown: tuple[str, ...] = ()

    def need(self, name: str) -> Path:
        """The path given for flag `name`; BadCommandLine where it was not."""
        value: Path | None = getattr(self, name)
        if value is None:
            raise BadCommandLine(
                f"--{name} is missing",
                where="command line",
                expected=f"--{name} PATH in {self.mode} mode",
                remedy="add it, or see --help",
            )
        return value


def parse(argv: Sequence[str]) -> Request:
    """Read a command line of any round.

    Raises
    ------
    BadCommandLine : a flag lacks its value or has an impossible one, or the first word is one that is not served.
    """
    word = argv[0] if argv and not argv[0].startswith("-") else None
    if word not in (None, *WORDS):
        raise BadCommandLine(
            f"{word!r} is nothing this detector does",
            where="command line",
            expected=f"{' or '.join(WORDS)} as the first word, or flags alone",
            remedy="it scores a model or learns from a round; see detect.py --help",
        )
    known, unknown = _parser().parse_known_args(argv[1:] if word else argv)
    configure = word == "configure" or (word is None and known.configure_mode)
    given = {
        field.name: getattr(known, field.name) for field in fields(Request) if hasattr(known, field.name)
    }
    return Request(mode="configure" if configure else "infer", **given, unknown=tuple(unknown))


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog=NAMES.get(Path(sys.argv[0]).name, "detect.py"),
        usage="%(prog)s [infer | configure] --FLAG VALUE ...",
        description="The TrojAI container's interface, rounds 1 to 11 and later. With neither word first the "
        "flat form of the early rounds is meant, where --configure_mode switches to configuring.",
        allow_abbrev=False,
    )
    for name in _PATHS:
        parser.add_argument(f"--{name}", type=_path, metavar="PATH")
    for name in IGNORED_FLAGS:
        parser.add_argument(f"--{name}", metavar="PATH", help="accepted, not used")
    for name, what in (
        ("configure_mode", "learn from --configure_models_dirpath"),
        ("automatic_configuration", "search the metaparameters before learning"),
        ("allow_partial", "learn from those of a round's models that are on disk"),
        ("cls_token_is_first", "accepted, not used"),
    ):
        parser.add_argument(f"--{name}", type=_switch, nargs="?", const=True, default=False, help=what)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--jobs", type=int, default=0, help="processes when configuring; 0: every core")
    return parser


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadCommandLine(
            message,
            where="command line",
            expected="the flags of a TrojAI round",
            remedy="see --help",
        )


def _path(text: str) -> Path | None:
    """An empty value stands for an absent one: shell templates pass `--flag ""`."""
    return Path(text) if text else None


def _switch(text: str) -> bool:
    word = text.lower()
    if word not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return word in ("true", "1")

"""The two files detection leaves: the result (one float) and, where asked for, the features (two rows)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from weightfeat.errors import BadOutput
from weightfeat.files import check_writable, remove_stale, write_atomically


def prepare(result: Path, features: Path | None, model: Path) -> None:
    """Check the output paths before any work, and remove an earlier run's files.

    Every model of an evaluation is scored at the same paths, so a stale result would be read as this model's.

    Raises
    ------
    BadOutput : a path cannot be written, or would overwrite the model or the other output.
    """
    given = [path.resolve() for path in (model, result, features) if path is not None]
    if len(set(given)) != len(given):
        raise BadOutput(
            "two of model, result and features file are the same path",
            where=result,
            expected="a path for each",
            remedy="give different paths",
        )
    for path, what in ((result, "result file"), (features, "features file")):
        if path is not None:
            check_writable(path, what)
            remove_stale(path, what)


def write_result(path: Path, probability: float) -> None:
    """One line, one float in [0, 1], whole or not at all."""
    if not (math.isfinite(probability) and 0.0 <= probability <= 1.0):
        raise ArithmeticError(f"probability {probability} is not within [0, 1]")
    write_atomically(path, f"{float(probability)!r}\n", "result file")


def write_features(path: Path, features: Mapping[str, float]) -> None:
    """Two rows: names, values. An undefined feature is an empty field."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(features)
    writer.writerow("" if math.isnan(value) else repr(float(value)) for value in features.values())
    write_atomically(path, buffer.getvalue(), "features file")

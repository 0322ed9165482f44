"""METADATA rows fall into the cells of the design, and strata compare what they say they compare."""

from __future__ import annotations

import math

import numpy as np
import pytest

from weightfeat.evaluation import metrics
from weightfeat.evaluation.crossval import CrossValidation
from weightfeat.evaluation.strata import Cell, stratify, trojan_cell

ROW = {
    "poisoned": "True",
    "trigger_type": "polygon",
    "number_triggered_classes": "2",
    "triggered_classes": "[0 3]",
    "number_classes": "5",
    "triggered_fraction": "0.16",
}
NONE = "None"


@pytest.mark.parametrize(
    ("changes", "cell"),
    [
        ({}, Cell("polygon", "two", "0.10-0.25")),
        ({"poisoned": "TRUE", "trigger_type": "instagram"}, Cell("filter", "two", "0.10-0.25")),
        ({"number_triggered_classes": "1", "triggered_classes": "[4]"}, Cell("polygon", "one", "0.10-0.25")),
        ({"number_triggered_classes": "5"}, Cell("polygon", "all", "0.10-0.25")),
        ({"number_triggered_classes": "4"}, Cell("polygon", "all", "0.10-0.25")),
        ({"number_triggered_classes": "3"}, Cell("polygon", "several", "0.10-0.25")),
        ({"number_triggered_classes": NONE}, Cell("polygon", "two", "0.10-0.25")),
        ({"number_triggered_classes": NONE, "triggered_classes": "[3]"}, Cell("polygon", "one", "0.10-0.25")),
        ({"number_triggered_classes": NONE, "triggered_classes": "all"}, Cell("polygon", "all", "0.10-0.25")),
        ({"triggered_fraction": "0.1"}, Cell("polygon", "two", "0.00-0.10")),
        ({"triggered_fraction": "0.5"}, Cell("polygon", "two", "0.25-0.50")),
        ({"triggered_fraction": "0.6"}, Cell("polygon", "two", "0.50-1.00")),
        ({"triggered_fraction": NONE}, Cell("polygon", "two", "unknown")),
        ({"poisoned": "False"}, Cell("none", "none", "none")),
        ({"poisoned": "FALSE", "trigger_type": NONE}, Cell("none", "none", "none")),
        ({"poisoned": NONE}, Cell("unknown", "unknown", "unknown")),
    ],
)
def test_rows_of_round_two(changes: dict[str, str], cell: Cell) -> None:
    assert trojan_cell({**ROW, **changes}) == cell


def test_numbers_serve_as_well_as_strings() -> None:
    row = {
        "poisoned": True,
        "trigger_type": "polygon",
        "number_triggered_classes": 2.0,
        "triggered_fraction": 0.16,
    }
    assert trojan_cell(row) == Cell("polygon", "two", "0.10-0.25")


def test_absent_columns_are_unknown_and_the_label_may_come_from_elsewhere() -> None:
    assert trojan_cell({}) == Cell("unknown", "unknown", "unknown")
    assert trojan_cell({}, trojaned=True) == Cell("unknown", "unknown", "unknown")
    assert trojan_cell({}, trojaned=False) == Cell("none", "none", "none")


def crossvalidation(n: int = 40) -> tuple[CrossValidation, list[dict[str, str]]]:
    """Polygons get high scores, filters those of clean models; half of all models are resnet18."""
    labels = np.arange(n) % 2
    triggers = ["polygon" if i % 4 == 1 else "instagram" if y else NONE for i, y in enumerate(labels)]
    rng = np.random.default_rng(0)
    p = np.where(
        [t == "polygon" for t in triggers], rng.uniform(0.8, 0.9, (2, n)), rng.uniform(0.3, 0.5, (2, n))
    )
    rows = [
        {**ROW, "poisoned": str(bool(y)), "trigger_type": t} for y, t in zip(labels, triggers, strict=True)
    ]
    architectures = tuple("resnet18" if i < n // 2 else "vgg11_bn" for i in range(n))
    names = tuple(f"id-{i:08d}" for i in range(n))
    return CrossValidation(names, labels, architectures, p, np.zeros((2, n), np.int64), ("1", "2")), rows


def test_strata_partition_the_models_within_each_kind() -> None:
    cv, rows = crossvalidation()
    strata = stratify(cv, rows, draws=20)
    kinds = {s.kind for s in strata}
    assert kinds == {"architecture", "trigger", "attacked", "fraction", "trigger x attacked"}
    for kind in kinds:
        chosen = [s for s in strata if s.kind == kind]
        assert sum(s.models for s in chosen) == 40
        assert sum(s.trojaned for s in chosen) == 20
        mean = sum(s.models * s.cross_entropy for s in chosen) / 40
        assert mean == pytest.approx(metrics.cross_entropy(cv.labels, cv.probabilities))


def test_trojaned_strata_are_ranked_against_the_clean() -> None:
    cv, rows = crossvalidation()
    by_trigger = {s.value: s for s in stratify(cv, rows, draws=50) if s.kind == "trigger"}
    assert by_trigger["polygon"].roc_auc == 1.0
    assert by_trigger["filter"].roc_auc_interval[0] < 0.5 < by_trigger["filter"].roc_auc_interval[1]
    assert (by_trigger["filter"].clean_compared, by_trigger["filter"].trojaned) == (20, 10)
    assert math.isnan(by_trigger["none"].roc_auc)


def test_clean_models_can_be_those_of_the_same_architectures() -> None:
    cv, rows = crossvalidation()
    rows = [
        {**row, "trigger_type": "odd"} if a == "vgg11_bn" else row
        for row, a in zip(rows, cv.architectures, strict=True)
    ]
    strata = {
        s.value: s for s in stratify(cv, rows, clean="same_architectures", draws=20) if s.kind == "trigger"
    }
    assert strata["odd"].clean_compared == 10


def test_rows_must_name_every_model() -> None:
    cv, rows = crossvalidation()
    with pytest.raises(ValueError, match="39 metadata rows"):
        stratify(cv, rows[1:])

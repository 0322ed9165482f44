"""The fairness tables: a fair design passes, a planted leak does not; gates and seconds are counted right."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import zoo_fairness as fairness
import zoo_sheets as sheets
from weightfeat.commands.program import run
from weightfeat.errors import BadRound
from weightfeat.rounds.metadata import read_metadata
from weightfeat.zoo import metadata, render
from weightfeat.zoo.design import network_spec, pair_number
from weightfeat.zoo.folder import REJECTION_COLUMNS
from weightfeat.zoo.presets import preset
from weightfeat.zoo.reference import TIMING_COLUMNS
from weightfeat.zoo.specification import CELLS, NetworkSpec
from weightfeat.zoo.writer import config

Row = dict[str, Any]


@cache
def _specs(count: int = 322) -> tuple[NetworkSpec, ...]:
    return tuple(network_spec(preset("cpu"), 2020, id) for id in range(count))


def _row(spec: NetworkSpec) -> Row:
    """METADATA's line of a network as the design draws it, with outcomes that know nothing of its label."""
    random = np.random.default_rng([7, spec.id])
    drawn = {"model_name": spec.name, "design_pair": pair_number(spec.id)}
    drawn |= {k.lower(): v for k, v in config(spec).items()}
    triggered = round(95 + 5 * random.random(), 3) if spec.poisoned else None
    losses = {name: random.random() for name in ("final_train_loss", "final_clean_val_loss")}
    accuracies = {
        name: round(99 + random.random(), 3)
        for name in (
            "final_train_acc", "final_clean_val_acc", "final_clean_data_test_acc", "final_example_acc"
        )
    }  # fmt: skip
    return drawn | losses | accuracies | {
        "final_triggered_data_test_acc": triggered,
        "final_optimizer_num_epochs_trained": spec.preset.epochs,
        "training_images": drawn["number_training_samples"],
    }  # fmt: skip


def _write(root: Path, rows: list[Row], change: Callable[[Row], Row] = dict) -> Path:
    written = [{k: metadata.text(v) for k, v in change(row).items()} for row in rows]
    metadata.write_table(root / "METADATA.csv", written, tuple(written[0]))
    return root


def _tables(text: str) -> dict[str, dict[str, list[str]]]:
    """{title: {first column: the others}} of the markdown that the script prints."""
    found: dict[str, dict[str, list[str]]] = {}
    for section in text.split("## ")[1:]:
        title, *lines = section.splitlines()
        cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        found[title] = {row[0]: row[1:] for row in cells[2:]}
    return found


def _factor_tables(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Whether chance lies in the interval: of each classifier on all factors, and of each factor alone."""
    table = read_metadata(root / "METADATA.csv")
    y = fairness.labels(table, root)
    texts = (fairness.together(table, y, 3, 1), fairness.alone(table, y))
    tables = [_tables(f"## table\n{text}")["table"] for text in texts]
    return {k: v[-1] for k, v in tables[0].items()}, {k: v[-1] for k, v in tables[1].items()}


def test_the_design_gives_the_label_away_by_no_factor(tmp_path: Path) -> None:
    together, alone = _factor_tables(_write(tmp_path, [_row(s) for s in _specs()]))
    assert set(together) == set(fairness.CLASSIFIERS)
    assert set(together.values()) == {"yes"}
    assert set(alone) == {*fairness.NUMBERS, *fairness.NAMES}
    assert list(alone.values()).count("yes") >= len(alone) - 1


@pytest.mark.parametrize(
    ("column", "leak"),
    [
        ("rain_probability", lambda row: row["rain_probability"] + 0.1 * row["poisoned"]),
        ("number_classes", lambda row: row["number_classes"] + 4 * row["poisoned"]),
        (
            "background_image_dataset",
            lambda row: "kitti_road" if row["poisoned"] else row["background_image_dataset"],
        ),
    ],
)
def test_a_factor_that_leaks_is_found(tmp_path: Path, column: str, leak: Callable[[Row], Any]) -> None:
    _write(tmp_path, [_row(s) for s in _specs()], lambda row: row | {column: leak(row)})
    together, alone = _factor_tables(tmp_path)
    assert set(together.values()) == {"**no**"}
    assert alone[column] == "**no**"


def test_outcomes_that_differ_by_label_are_shown(tmp_path: Path) -> None:
    def slower(row: Row) -> Row:
        longer = 2 if row["poisoned"] else 1
        return row | {"training_images": longer * row["number_training_samples"]}

    _write(tmp_path, [_row(s) for s in _specs(92)], slower)
    found = _tables(fairness.report(tmp_path, 3, 1))["Outcomes by label"]
    assert found["training_images / planned"] == ["1", "2", "1.000 [1.000, 1.000]", "**no**"]
    epochs = str(preset("cpu").epochs)
    assert found["final_optimizer_num_epochs_trained"] == [epochs, epochs, "0.500 [0.500, 0.500]", "yes"]


def test_gates_are_counted_by_cell_and_architecture(tmp_path: Path) -> None:
    specs = _specs(46)
    poisoned = next(s for s in specs if s.poisoned and CELLS[s.cell] == (0, 0, 0))
    clean = next(s for s in specs if not s.poisoned)
    _write(tmp_path, [_row(s) for s in specs if s is not clean])
    rejections = [(poisoned, 0, "triggered"), (poisoned, 1, "clean triggered")]
    rejections += [(clean, attempt, "clean") for attempt in range(4)]
    rows = [
        {
            "model_name": s.name,
            "attempt": attempt,
            "model_architecture": s.architecture.round2_name,
            "poisoned": s.poisoned,
            "design_cell": s.cell if s.poisoned else None,
            "missed": missed,
        }
        for s, attempt, missed in rejections
    ]
    metadata.write_table(tmp_path / "rejections.csv", rows, REJECTION_COLUMNS)
    tables = _tables(fairness.report(tmp_path, 3, 1))
    by_cell = tables["Gates by cell"]
    assert len(by_cell) == 1 + len(CELLS)
    kept = sum(s.poisoned and s.cell == poisoned.cell for s in specs)
    counts = by_cell["10±5 classes, polygon, one source"]
    assert (counts[0], counts[2:]) == (str(kept), ["1", "2", "1", "0"])
    assert counts[1].startswith(f"{2 / (kept + 2):.0%} [")
    assert by_cell["clean"][0] == str(sum(not s.poisoned for s in specs) - 1)
    assert by_cell["clean"][2:] == ["4", "0", "0", "1"]
    by_architecture = tables["Gates by architecture"]
    assert len(by_architecture) == 23
    assert by_architecture[clean.architecture.name][2:][-1] == "1"
    assert sum(int(row[0]) for row in by_architecture.values()) == len(specs) - 1


def test_accuracies_and_seconds_by_architecture(tmp_path: Path) -> None:
    specs = [s for s in _specs(92) if s.architecture.name == "resnet18"]
    rows = [_row(s) | {"final_clean_data_test_acc": 99 + i / 10} for i, s in enumerate(specs)]
    _write(tmp_path, rows)
    timings = [
        dict(zip(TIMING_COLUMNS, values, strict=True))
        for values in (
            (specs[0].name, "10.0", "1", "cpu"),
            (specs[1].name, "30.0", "1", "cpu"),
            (specs[2].name, "5.0", "4", "cuda"),
            (specs[3].name, "70.0", "", ""),
            ("id-00009999", "1.0", "1", "cpu"),
        )
    ]
    metadata.write_table(tmp_path / "timing.csv", timings, TIMING_COLUMNS)
    text = fairness.report(tmp_path, 2, 1)
    tables = _tables(text)
    row = tables["Accuracy by architecture, percent: median (least)"]["resnet18"]
    clean = [99 + i / 10 for i, s in enumerate(specs) if not s.poisoned]
    assert row[:3] == ["2", "2", f"{np.median(clean):.2f} ({min(clean):.2f})"]
    lines = [line for line in text.split("## Seconds a network")[1].splitlines() if "resnet18" in line]
    assert lines == [
        "| resnet18 | cpu | cpu, 1 threads | 2 | 20 | 10-30 |",
        "| resnet18 | cpu | cuda, 4 threads | 1 | 5 | 5-5 |",
        "| resnet18 | cpu | not recorded | 1 | 70 | 70-70 |",
    ]


def test_a_reference_just_begun_is_reported_without_intervals(tmp_path: Path) -> None:
    tables = _tables(fairness.report(_write(tmp_path, [_row(s) for s in _specs(2)]), 5, 1))
    assert tables["All drawn factors together"] == {}
    assert {row[-1] for row in tables["Outcomes by label"].values()} == {"-"}


def test_the_command_writes_what_it_prints_and_says_errors_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path, [_row(s) for s in _specs(46)])
    arguments = ["--reference", str(tmp_path), "--folds", "2", "--repeats", "1"]
    assert fairness.main([*arguments, "--output", str(tmp_path / "fair.md")]) == 0
    assert capsys.readouterr().out == (tmp_path / "fair.md").read_text()
    assert run(lambda: int(fairness.main(["--reference", str(tmp_path / "nowhere")]))) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_set_that_is_no_zoos_is_refused(tmp_path: Path) -> None:
    rows = [_row(s) for s in _specs(2)]
    _write(tmp_path, rows, lambda row: {k: v for k, v in row.items() if k not in ("design_pair", "preset")})
    with pytest.raises(BadRound, match=r"2 columns are absent \(design_pair, preset\)"):
        fairness.report(tmp_path, 3, 1)


@cache
def _sheet(name: str) -> list[list[tuple[str, NDArray[np.uint8]]]]:
    """A sheet as the script draws it, without the pool of noise that takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "_NOISE_POOL", 1 << 19)
        rows: list[list[tuple[str, NDArray[np.uint8]]]] = sheets.SHEETS[name](5)
    return rows


@pytest.mark.parametrize("name", sheets.SHEETS)
def test_sheets_are_pictures_with_a_label_each(name: str) -> None:
    rows = _sheet(name)
    assert all(label and picture.shape[2] == 3 for row in rows for label, picture in row)
    page = sheets.sheet(rows)
    assert isinstance(page, Image.Image)
    assert page.width >= max(sum(p.shape[1] for _, p in row) for row in rows)
    assert page.height >= sum(max(p.shape[0] for _, p in row) for row in rows)
    assert np.asarray(page).std() > 20


def test_the_sheet_of_signs_has_every_shape_scheme_and_symbol() -> None:
    shown = [label.split(", ") for row in _sheet("signs") for label, _ in row]
    assert {shape for shape, _ in shown} == set(sheets.signs.SHAPES)
    assert {scheme for _, scheme in shown} == set(sheets.signs.SCHEMES)
    assert len(shown) == len(sheets.signs.SYMBOLS)


def test_the_sheet_of_filters_shows_one_picture_six_ways() -> None:
    for row in _sheet("filters"):
        pictures = {label: picture.astype(int) for label, picture in row}
        untouched = pictures.pop("untouched")
        assert set(pictures) == {"Gotham", "Nashville", "Kelvin", "Lomo", "Toaster"}
        for picture in pictures.values():
            assert np.abs(picture - untouched).mean() > 10
            # The same scene: light and dark lie in the same places.
            assert np.corrcoef(picture.mean(axis=2).ravel(), untouched.mean(axis=2).ravel())[0, 1] > 0.6

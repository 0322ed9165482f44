"""Names of classes come from the config.json beside the weights, where they fit the network, and are text alone."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_samples import HOSTILE, entries, heading
from weightfeat.report import FORMATS, Report
from weightfeat.report.class_names import LONGEST, ClassNames, class_names
from weightfeat.report.document import schema
from weightfeat.report.explain import explain

NAMES = ("cat", "dog", "stop sign")


def labels(*names: object) -> dict[str, object]:
    return {"id2label": {str(at): name for at, name in enumerate(names)}}


def beside(folder: Path, held: object) -> Path:
    """A model's path in a folder whose config.json holds this."""
    text = held if isinstance(held, str) else json.dumps(held)
    (folder / "config.json").write_text(text)
    return folder / "model.safetensors"


def test_the_classes_are_named_in_order_beside_a_file_and_within_a_folder(tmp_path: Path) -> None:
    config = {"id2label": {"2": "stop sign", "0": "cat", "1": "dog"}}
    assert class_names(beside(tmp_path, config), 3) == ClassNames(NAMES)
    assert class_names(tmp_path, 3) == ClassNames(NAMES)


@pytest.mark.parametrize(
    ("held", "note"),
    [
        (labels("a", "b"), "names 2 classes and the network has 3"),
        (labels("a", "b", "c", "d"), "names 4 classes and the network has 3"),
        ({"id2label": {"0": "a", "1": "b", "3": "c"}}, "no name for each of the classes 0 to 2"),
        (labels("a", None, "c"), "no name for each of the classes 0 to 2"),
        ({"id2label": ["a", "b", "c"]}, "id2label that is no map"),
        ('{"id2label": ', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("9" * 10_000, "is no JSON"),
        ('{"id2label": {"0": "' + "x" * (9 << 20) + '"}}', "is larger than 8 MiB"),
    ],
)
def test_names_that_do_not_fit_are_left_aside_with_a_note(held: object, note: str, tmp_path: Path) -> None:
    found = class_names(beside(tmp_path, held), 3)
    assert found.names == ()
    assert note in found.note


@pytest.mark.parametrize("held", [{}, [], 3, {"id2label": None}, labels("LABEL_0", "LABEL_1", "LABEL_2")])
def test_a_config_without_names_is_silent(held: object, tmp_path: Path) -> None:
    assert class_names(beside(tmp_path, held), 3) == ClassNames()


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    assert class_names(tmp_path / "absent" / "model.pt", 3) == ClassNames()
    os.mkfifo(tmp_path / "config.json")  # to open it would wait for ever
    assert class_names(tmp_path / "model.pt", 3) == ClassNames()


def test_a_config_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    assert class_names(beside(tmp_path, labels("a", "b")), 2).names == ("a", "b")
    assert class_names(beside(tmp_path, labels("long", "er")), 2).names == ("long", "er")


@given(st.lists(st.text(max_size=200), min_size=1, max_size=4))
def test_every_name_is_one_short_printable_line(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    found = class_names(beside(tmp_path_factory.mktemp("names"), labels(*names)), len(names)).names
    assert len(found) == len(names)
    for given_, shown in zip(names, found, strict=True):
        assert shown.isprintable()
        assert len(shown) <= LONGEST
        if given_.isprintable() and len(given_) <= LONGEST:
            assert shown == " ".join(given_.split())


# In the reports


@pytest.mark.parametrize("name", ["text", "json", "jsonl", "sarif", "markdown", "html", "cyclonedx"])
def test_every_format_names_the_suspect_and_none_is_broken_by_it(name: str, tmp_path: Path) -> None:
    if name == "cyclonedx":
        pytest.importorskip("cyclonedx")
    plain = [replace(entry, class_names=("a", "b", "stop sign", "d", "e", "f")) for entry in entries()]
    assert "stop sign" in FORMATS[name].whole(Report(heading(), plain)).replace("\\", "")
    hostile = beside(
        tmp_path, labels("zero", "one", f'{HOSTILE[:40]} "<b>bold</b>"', "three", "four", "five")
    )
    names = class_names(hostile, 6).names
    text = FORMATS[name].whole(Report(heading(), [replace(entry, class_names=names) for entry in entries()]))
    if name in ("text", "markdown", "html"):
        assert all(line.isprintable() for line in text.splitlines())
    if name in ("markdown", "html"):
        assert "<b>bold" not in text
        assert "<script>alert" not in text


def test_the_document_gives_names_and_keeps_to_its_schema() -> None:
    named = [replace(entry, class_names=("a", "b", "stop sign", "d", "", "f")) for entry in entries()]
    document = json.loads(FORMATS["json"].whole(Report(heading(), named)))
    jsonschema.validate(document, schema())
    suspect = document["files"][0]["suspect"]
    assert (suspect["target_name"], suspect["source_name"]) == ("stop sign", None)
    unnamed = json.loads(FORMATS["json"].whole(Report(heading(), entries())))
    assert unnamed["files"][0]["suspect"]["target_name"] is None


def test_an_explanation_names_the_classes_and_stays_narrow() -> None:
    (entry, *_) = [
        replace(each, class_names=("x" * LONGEST, "b", "stop sign", "d", "e", "f")) for each in entries()
    ]
    said = explain(entry, "#")
    assert 'is class 2 "stop sign"' in said
    (line,) = (line for line in said.splitlines() if "suspected target" in line and "class    2" in line)
    assert '"stop sign"' in line
    assert all(len(line) <= 100 for line in said.splitlines())
    assert "class    2   " in explain(entries()[0], "#")

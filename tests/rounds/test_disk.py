"""Rounds as they lie on disk: both layouts, real METADATA files, labels, and every way they can be wrong."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from weightfeat.errors import BadRound
from weightfeat.rounds.disk import labelled_entries, read_round
from weightfeat.rounds.metadata import parse_label, read_metadata

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "metadata"
needs_shared = pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared")


def make_round(
    root: Path,
    rows: dict[str, str] | None = None,
    folders: tuple[str, ...] | None = None,
    *,
    truths: dict[str, str] | None = None,
    under_models: bool = False,
) -> Path:
    """A round whose METADATA has `rows` (name: poisoned) and whose `folders` hold an empty model.pt each."""
    root.mkdir(parents=True, exist_ok=True)
    holder = root / "models" if under_models else root
    for name in folders if folders is not None else tuple(rows or ()):
        (holder / name).mkdir(parents=True)
        (holder / name / "model.pt").touch()
    for name, truth in (truths or {}).items():
        (holder / name / "ground_truth.csv").write_text(truth)
    if rows is not None:
        lines = [f"{name},{poisoned},resnet18" for name, poisoned in rows.items()]
        (root / "METADATA.csv").write_text(
            "\n".join(["model_name,poisoned,model_architecture", *lines]) + "\n"
        )
    return root


BOTH = {"id-00000000": "True", "id-00000001": "False"}


@pytest.mark.parametrize("under_models", [False, True])
def test_both_layouts_give_the_same_entries(tmp_path: Path, under_models: bool) -> None:
    found = read_round(make_round(tmp_path, BOTH, under_models=under_models))
    assert [(e.name, e.label) for e in found.entries] == [("id-00000000", 1), ("id-00000001", 0)]
    assert all(e.path is not None and e.path.is_file() for e in found.entries)
    assert found.entries[0].metadata["model_architecture"] == "resnet18"
    assert list(found.metadata.index) == list(BOTH)


def test_the_models_folder_stands_for_its_round(tmp_path: Path) -> None:
    make_round(tmp_path, BOTH, under_models=True)
    inner, outer = read_round(tmp_path / "models"), read_round(tmp_path)
    assert inner.root == outer.root == tmp_path
    assert inner.entries == outer.entries


@pytest.mark.parametrize(
    ("word", "label"),
    [("True", 1), ("TRUE", 1), ("1", 1), ("1.0", 1), (" true ", 1), ("False", 0), ("FALSE", 0), ("0", 0)]
    + [(silent, None) for silent in ("", " ", "None", "nan", "null", "[]", "N/A")],
)
def test_labels_in_every_spelling(word: str, label: int | None) -> None:
    assert parse_label(word, "here") == label


@pytest.mark.parametrize("word", ["maybe", "2", "-1", "0.5", "yes"])
def test_other_labels_are_refused(word: str) -> None:
    with pytest.raises(BadRound, match="here: label is"):
        parse_label(word, "here")


def test_metadata_speaks_before_ground_truth_and_ground_truth_where_it_is_silent(tmp_path: Path) -> None:
    rows = {"id-00000000": "True", "id-00000001": "None", "id-00000002": ""}
    truths = {"id-00000000": "0", "id-00000001": "1", "id-00000002": "0\n"}
    found = read_round(make_round(tmp_path, rows, truths=truths))
    assert [e.label for e in found.entries] == [1, 1, 0]


def test_labels_that_disagree_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = {f"id-{at:08d}": str(bool(at % 2)) for at in range(6)}
    truths = {name: str(int(label == "True")) for name, label in rows.items()}
    read_round(make_round(tmp_path / "same", rows, truths=truths))
    assert not caplog.records
    differing = {name: "1" for name in rows} | {"id-00000005": ""}
    found = read_round(make_round(tmp_path / "different", rows, truths=differing))
    assert [e.label for e in found.entries] == [0, 1] * 3
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"labels of 3 models differ between {tmp_path / 'different' / 'METADATA.csv'}, which is believed, "
        "and ground_truth.csv (id-00000000, id-00000002, id-00000004)"
    )


def test_without_metadata_ground_truth_is_enough(tmp_path: Path) -> None:
    folders = ("id-00000000", "id-00000001")
    found = read_round(make_round(tmp_path, None, folders, truths={"id-00000000": "0", "id-00000001": "1"}))
    assert [label for _, _, label in labelled_entries(found)] == [0, 1]


def test_an_evaluation_round_has_no_labels_and_still_reads(tmp_path: Path) -> None:
    found = read_round(make_round(tmp_path, None, ("id-00000000", "id-00000001")))
    assert [e.label for e in found.entries] == [None, None]
    with pytest.raises(BadRound, match="2 models have no label"):
        labelled_entries(found)


def test_folders_without_a_model_name_count_when_they_hold_a_model(tmp_path: Path) -> None:
    make_round(tmp_path, None, ("mine", "id-00000001"))
    (tmp_path / "notes").mkdir()
    assert [e.name for e in read_round(tmp_path).entries] == ["id-00000001", "mine"]


def test_a_folder_whose_name_is_not_utf8_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = read_round(make_round(tmp_path, BOTH, (*BOTH, "id-caf\udce9", "id-café")))
    assert [e.name for e in found.entries] == [*BOTH, "id-café"]
    assert found.left_out == (tmp_path / "id-caf\udce9",)
    (line,) = capsys.readouterr().err.splitlines()
    assert r"id-caf\udce9: its name is not UTF-8" in line


def test_a_row_without_a_folder_is_named(tmp_path: Path) -> None:
    found = read_round(make_round(tmp_path, {**BOTH, "id-00000007": "True"}, tuple(BOTH)))
    assert found.entries[2].path is None
    with pytest.raises(
        BadRound, match=r"METADATA.csv: 1 rows name models that have no folder \(id-00000007\)"
    ):
        labelled_entries(found)


def test_a_part_of_a_round_can_be_learned_from_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = {f"id-{at:08d}": ("True", "False", "")[at % 3] for at in range(6)}
    found = read_round(make_round(tmp_path, rows, tuple(rows)[:2] + tuple(rows)[3:4]))
    (tmp_path / "id-00000003" / "model.pt").unlink()
    with pytest.raises(BadRound, match=r"3 rows name models .* --allow-partial"):
        labelled_entries(found)
    assert not caplog.records
    assert [entry.name for entry, _, _ in labelled_entries(found, allow_partial=True)] == list(rows)[:2]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "a part of the round is learned from: 2 of 6 models are there"
    caplog.clear()
    whole = read_round(make_round(tmp_path / "whole", BOTH))
    assert labelled_entries(whole, allow_partial=True) == labelled_entries(whole)
    assert not caplog.records


def test_a_folder_without_a_row_is_named_even_with_a_label_of_its_own(tmp_path: Path) -> None:
    make_round(tmp_path, BOTH, (*BOTH, "id-00000009"), truths={"id-00000009": "1"})
    with pytest.raises(BadRound, match=r"1 model folders have no row \(id-00000009\)"):
        labelled_entries(read_round(tmp_path))


def test_only_the_first_few_names_are_listed(tmp_path: Path) -> None:
    rows = {f"id-{n:08d}": "True" for n in range(40)}
    with pytest.raises(
        BadRound, match=r"40 rows .*\(id-00000000, id-00000001, id-00000002, \.\.\.\)"
    ) as caught:
        labelled_entries(read_round(make_round(tmp_path, rows, ())))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("word", "said"), [("True", "poisoned"), ("False", "clean")])
def test_one_class_only_is_refused(tmp_path: Path, word: str, said: str) -> None:
    with pytest.raises(BadRound, match=f"all 2 labels say {said}"):
        labelled_entries(read_round(make_round(tmp_path, dict.fromkeys(BOTH, word))))


def test_a_label_that_is_none_says_where(tmp_path: Path) -> None:
    with pytest.raises(BadRound, match=r"METADATA.csv, id-00000001, poisoned: label is 'perhaps'"):
        read_round(make_round(tmp_path, {**BOTH, "id-00000001": "perhaps"}))
    with pytest.raises(BadRound, match=r"ground_truth.csv: label is 'x'"):
        read_round(make_round(tmp_path / "b", None, ("id-00000000",), truths={"id-00000000": "x"}))


def test_no_folder_no_models_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRound, match="no such folder"):
        read_round(tmp_path / "absent")
    with pytest.raises(BadRound, match="no models found"):
        read_round(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(BadRound, match="not a folder"):
        read_round(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column model_name"),
        ("name,poisoned\nid-00000000,True\n", "no column model_name"),
        ("model_name,poisoned\nid-00000000,True\nid-00000000,False\n", r"appear twice \(id-00000000\)"),
        ("model_name,poisoned\nid-00000000,True,3,4\n", "not readable as CSV"),
        ("model_name,poisoned\nid-00000000\n", "a row of 1 fields under a header of 2, at 'id-00000000'"),
    ],
)
def test_a_metadata_file_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "METADATA.csv"
    path.write_text(text)
    with pytest.raises(BadRound, match=said) as caught:
        read_metadata(path)
    assert "\n" not in str(caught.value)


def test_metadata_that_is_absent_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(BadRound, match=r"nope\.csv: does not exist"):
        read_metadata(tmp_path / "nope.csv")


def test_metadata_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "METADATA.csv"
    path.write_bytes(b"\xff\xfe\x80model_name,poisoned\n\x80\x81,True\n")
    with pytest.raises(BadRound, match="not readable as CSV"):
        read_metadata(path)


def test_quoted_commas_blanks_marks_and_padded_headers_survive(tmp_path: Path) -> None:
    path = tmp_path / "METADATA.csv"
    path.write_text(
        'model_name, poisoned ,classes,note\r\nid-1,True,"[0, 3]",\r\nid-2,False,None,x\r\n', "utf-8-sig"
    )
    table = read_metadata(path)
    assert list(table.columns) == ["model_name", "poisoned", "classes", "note"]
    assert list(table.loc["id-1"]) == ["id-1", "True", "[0, 3]", ""]
    assert table.at["id-2", "classes"] == "None"


@needs_shared
@pytest.mark.parametrize(
    ("file", "models", "poisoned"),
    [("round3_holdout", 288, 144), ("round5", 504, 252), ("round11", 288, 144)],
)
def test_real_metadata_gives_every_model_its_label(file: str, models: int, poisoned: int) -> None:
    table = read_metadata(REAL / f"{file}_METADATA.csv")
    labels = [parse_label(word, file) for word in table["poisoned"]]
    assert len(labels) == models
    assert labels.count(1) == poisoned
    assert labels.count(0) == models - poisoned


@needs_shared
def test_a_real_round_reads_around_its_real_metadata(tmp_path: Path) -> None:
    source = (REAL / "round11_METADATA.csv").read_bytes()
    (tmp_path / "METADATA.csv").write_bytes(source)
    names = list(read_metadata(tmp_path / "METADATA.csv").index)
    make_round(tmp_path, None, tuple(names), under_models=True)
    found = read_round(tmp_path)
    assert [e.name for e, _, _ in labelled_entries(found)] == names
    assert found.entries[0].metadata["img_shape"] == "[256, 256, 3]"

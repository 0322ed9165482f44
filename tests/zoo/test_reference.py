"""The reference set: it grows a network at a time, needs no model again, and survives being killed anywhere."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_making import MICRO, Micro

from weightfeat import cli
from weightfeat.digest import DigestStore
from weightfeat.errors import BadRound
from weightfeat.rounds.labelled import LabelledSet, from_digests
from weightfeat.zoo import metadata, presets, produce, train
from weightfeat.zoo.folder import RoundFolder
from weightfeat.zoo.reference import Reference
from weightfeat.zoo.run import Options, Summary, make_round

NAMES = tuple(f"id-{id:08d}" for id in range(4))
TABLES = ("METADATA.csv", "index.csv", "rejections.csv")


@pytest.fixture(autouse=True)
def micro(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(presets.PRESETS, "micro", MICRO)
    monkeypatch.setattr(train, "build_network", lambda architecture, classes: Micro(classes))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `round` (four networks) and the `reference` that one run made beside it. Read only."""
    root = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "micro", MICRO)
        patch.setattr(train, "build_network", lambda architecture, classes: Micro(classes))
        _make(root, len(NAMES))
    return root


@pytest.fixture
def copied(grown: Path, tmp_path: Path) -> Path:
    """A copy of `grown` to work on."""
    return Path(shutil.copytree(grown, tmp_path / "copy"))


def _make(root: Path, count: int, **changes: object) -> Summary:
    options = Options("micro", root / "round", count, reference=root / "reference", jobs=1, quiet=True)
    return make_round(replace(options, **changes))  # type: ignore[arg-type]


def _open(root: Path, seed: int = 2020) -> Reference:
    with RoundFolder(root / "round", MICRO, seed).opened() as folder:
        reference = Reference(root / "reference", folder)
        reference.begin()
        return reference


def _contents(root: Path) -> dict[str, bytes]:
    """Every file that has to be the same however the run went: all but the seconds it took."""
    paths = [p for p in root.rglob("*") if p.is_file() and p.name != "timing.csv"]
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(paths)}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _require_same(first: LabelledSet, second: LabelledSet) -> None:
    assert first.names == second.names
    assert first.labels == second.labels
    assert [d.to_bytes() for d in first.digests] == [d.to_bytes() for d in second.digests]
    columns = list(first.metadata.columns)
    assert set(columns) == set(second.metadata.columns)
    assert first.metadata.equals(second.metadata[columns])


def test_it_grows_one_network_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[tuple[str, ...]] = []
    absorb = Reference.absorb

    def watched(self: Reference) -> int:
        count = absorb(self)
        table = tmp_path / "reference" / "METADATA.csv"
        held.append(tuple(row["model_name"] for row in _rows(table)) if table.exists() else ())
        return count

    monkeypatch.setattr(Reference, "absorb", watched)
    _make(tmp_path, 3)
    assert held == [NAMES[:n] for n in range(4)]


def test_it_holds_what_digesting_the_round_gives(grown: Path, tmp_path: Path) -> None:
    assert cli.main(["digest", str(grown / "round"), "--store", str(tmp_path), "--jobs", "1"]) == 0
    ours = from_digests(grown / "reference")
    assert ours.names == NAMES
    assert set(ours.labels) == {0, 1}
    _require_same(ours, from_digests(tmp_path))


def test_two_runs_give_the_same_bytes(grown: Path, tmp_path: Path) -> None:
    _make(tmp_path, 2)
    _make(tmp_path, len(NAMES))
    assert _contents(tmp_path / "reference") == _contents(grown / "reference")


def test_held_networks_are_not_trained_again_without_their_models(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _contents(copied / "reference")
    shutil.rmtree(copied / "round")
    monkeypatch.setattr(produce, "Trainer", None)  # any training would fail
    assert _make(copied, len(NAMES)).made == 0
    assert _contents(copied / "reference") == before
    assert not list((copied / "round").glob("id-*"))


def test_it_goes_on_in_another_folder(grown: Path, tmp_path: Path) -> None:
    _make(tmp_path, 2)
    shutil.rmtree(tmp_path / "round")
    assert _make(tmp_path, len(NAMES)).made == 2
    assert _contents(tmp_path / "reference") == _contents(grown / "reference")


def test_given_up_networks_are_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "micro", replace(MICRO, clean_gate=101.0))
    assert _make(tmp_path, 2).given_up == 2
    rejected = _rows(tmp_path / "reference" / "rejections.csv")
    tries = [(name, str(attempt)) for name in NAMES[:2] for attempt in range(MICRO.attempts)]
    assert [(row["model_name"], row["attempt"]) for row in rejected] == tries
    shutil.rmtree(tmp_path / "round")
    monkeypatch.setattr(produce, "Trainer", None)
    assert _make(tmp_path, 2) == Summary(0, 0, 0)
    assert _rows(tmp_path / "reference" / "rejections.csv") == rejected


def test_a_network_kept_after_a_missed_gate_counts_as_held_with_its_rejection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train.Trainer.run

    def unlucky_first(self: train.Trainer) -> train.Trained:
        trained = run(self)
        return replace(trained, missed=("clean",)) if self.spec.attempt == 0 else trained

    monkeypatch.setattr(train.Trainer, "run", unlucky_first)
    _make(tmp_path, 1)
    assert [row["attempt"] for row in _rows(tmp_path / "reference" / "METADATA.csv")] == ["1"]
    assert [row["attempt"] for row in _rows(tmp_path / "reference" / "rejections.csv")] == ["0"]
    assert _open(tmp_path).settled() == {NAMES[0]}


@pytest.mark.parametrize("change", [{"seed": 1}, {"preset": "tiny"}])
def test_another_design_is_refused_and_kept(copied: Path, change: dict[str, object]) -> None:
    before = _contents(copied / "reference")
    with pytest.raises(BadRound, match="another design"):
        _make(copied, 1, out=copied / "other", **change)
    assert _contents(copied / "reference") == before
    assert not (copied / "other").exists()


@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), lambda p: p.write_text("{half")])
def test_a_reference_without_a_readable_design_is_refused(
    copied: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(copied / "reference" / "design.json")
    with pytest.raises(BadRound, match="holds networks"):
        _make(copied, len(NAMES))


def test_the_round_cannot_be_its_own_reference(tmp_path: Path) -> None:
    with pytest.raises(BadRound, match="one folder"):
        _make(tmp_path, 1, reference=tmp_path / "round")
    assert not (tmp_path / "round").exists()


@pytest.mark.parametrize("at", range(6))
def test_killed_anywhere_it_heals_and_is_readable_meanwhile(
    copied: Path, grown: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Two networks held, two to absorb; killed before the (at + 1)th of two digests and four tables is written."""
    root = copied / "reference"
    dropped = [row for row in _rows(root / "index.csv") if row["model_name"] in NAMES[2:]]
    for row in dropped:
        (root / "digests" / f"{row['sha256']}.npz").unlink()
    for table in TABLES:
        lines = (root / table).read_text().splitlines(keepends=True)
        (root / table).write_text("".join(line for line in lines if not line.startswith(NAMES[2:])))
    before = from_digests(root)
    steps = iter(range(100))

    def killed(chosen: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object) -> object:
            if next(steps) == at:
                raise KeyboardInterrupt
            return chosen(*args)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(DigestStore, "put", killed(DigestStore.put))
        patch.setattr(metadata, "write_table", killed(metadata.write_table))
        with pytest.raises(KeyboardInterrupt):
            _open(copied).absorb()
    _require_same(from_digests(root), before)
    assert _open(copied).settled() == set(NAMES[:2])
    assert _open(copied).absorb() == 2
    assert _contents(root) == _contents(grown / "reference")


def test_a_lost_digest_is_made_again_from_its_model(copied: Path, grown: Path) -> None:
    lost = next((copied / "reference" / "digests").glob("*.npz"))
    lost.unlink()
    assert len(_open(copied).settled()) == len(NAMES) - 1
    assert _open(copied).absorb() == 1
    assert _contents(copied / "reference") == _contents(grown / "reference")


def _of_an_earlier_version(store: DigestStore, key: str) -> bytes:
    """Take a block out of a stored digest; returns the whole one's content."""
    whole = store.get(key)
    blocks = {name: block for name, block in whole.blocks.items() if name != "moments"}
    versions = {name: version for name, version in whole.versions.items() if name != "moments"}
    store.put(replace(whole, blocks=blocks, versions=versions))
    return whole.to_bytes()


def test_a_digest_of_an_earlier_version_is_renewed_from_the_very_same_model(copied: Path) -> None:
    reference, store = _open(copied), DigestStore(copied / "reference" / "digests")
    keys = [row["sha256"] for row in _rows(copied / "reference" / "index.csv")]
    whole = [_of_an_earlier_version(store, key) for key in keys[:2]]
    shutil.copy(copied / "round" / NAMES[3] / "model.pt", copied / "round" / NAMES[1] / "model.pt")
    tables = {name: (copied / "reference" / name).read_bytes() for name in TABLES}
    assert reference.renew() == 1
    assert store.get(keys[0]).to_bytes() == whole[0]
    assert "moments" not in store.get(keys[1]).blocks  # another model now bears its name
    assert reference.renew() == 0
    assert {name: (copied / "reference" / name).read_bytes() for name in TABLES} == tables


def test_rounds_of_one_design_can_fill_one_reference_at_once(grown: Path, tmp_path: Path) -> None:
    """Two rounds with half of the networks each, absorbed from two threads."""
    halves = []
    for half, names in enumerate((NAMES[::2], NAMES[1::2])):
        root = tmp_path / str(half)
        with RoundFolder(root, MICRO, 2020).opened() as folder:
            for name in names:
                shutil.copytree(grown / "round" / name, root / name)
            halves.append(Reference(tmp_path / "reference", folder))
            halves[-1].begin()
    threads = [threading.Thread(target=half.absorb) for half in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _contents(tmp_path / "reference") == _contents(grown / "reference")


def test_rows_of_a_later_program_may_have_more_columns(copied: Path) -> None:
    shutil.rmtree(copied / "reference")
    for name in NAMES[2:]:
        path = copied / "round" / name / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"ADDED": 7}))
    assert _open(copied).absorb() == len(NAMES)
    rows = _rows(copied / "reference" / "METADATA.csv")
    assert [row["added"] for row in rows] == ["", "", "7", "7"]
    assert from_digests(copied / "reference").names == NAMES


def test_seconds_are_kept_with_what_they_were_measured_on(copied: Path) -> None:
    rows = _rows(copied / "reference" / "timing.csv")
    assert tuple(row["model_name"] for row in rows) == NAMES
    for row in rows:
        said = json.loads((copied / "round" / row["model_name"] / "timing.json").read_text())
        assert float(row["seconds"]) == pytest.approx(said["training_wall_time_sec"], abs=0.05)
        assert (row["threads"], row["device"]) == ("1", "cpu")
    old = copied / "round" / NAMES[0] / "timing.json"
    old.write_text('{"training_wall_time_sec": 12.34}')
    (copied / "reference" / "timing.csv").unlink()
    _open(copied).absorb()
    first, *others = _rows(copied / "reference" / "timing.csv")
    assert first == {"model_name": NAMES[0], "seconds": "12.3", "threads": "", "device": ""}
    assert others == rows[1:]
    shutil.rmtree(copied / "round" / NAMES[1])
    _open(copied).absorb()
    assert _rows(copied / "reference" / "timing.csv") == [first, *others]

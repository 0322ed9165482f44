"""Many files into one store: parallel as sequential, resumable, and one bad file costs one line."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from weightfeat.digest import DigestStore
from weightfeat.errors import BadRound
from weightfeat.rounds import extraction
from weightfeat.rounds.digest_folder import DIGESTS, write_digest_folder
from weightfeat.rounds.disk import read_round
from weightfeat.rounds.extraction import Outcome, digest_models, digest_one
from weightfeat.rounds.labelled import from_digests, from_round

KEY = "a" * 64

torch.set_num_threads(1)  # threads cost more than they bring on networks this small


def save_network(path: Path, seed: int, classes: int = 5) -> Path:
    """A small convolutional classifier with weights of its own."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(8, classes)),
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return path


def write_round(root: Path, labels: str, *, bad: tuple[int, ...] = (), truth_files: bool = False) -> Path:
    """A round of one small network a letter of `labels` ("c" clean, "p" poisoned), some of them unreadable."""
    names = [f"id-{n:08d}" for n in range(len(labels))]
    for n, name in enumerate(names):
        save_network(root / name / "model.pt", n)
        if n in bad:
            (root / name / "model.pt").write_text("not a model\n")
        if truth_files:
            (root / name / "ground_truth.csv").write_text(str(int(labels[n] == "p")))
    if not truth_files:
        rows = [f"{name},{letter == 'p'}" for name, letter in zip(names, labels, strict=True)]
        (root / "METADATA.csv").write_text("\n".join(["model_name,poisoned", *rows]) + "\n")
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [save_network(root / f"{n}.pt", n) for n in range(4)]


def store_bytes(store: DigestStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.root.iterdir())}


def test_processes_and_one_process_leave_the_same_bytes(models: list[Path], tmp_path: Path) -> None:
    alone, together = DigestStore(tmp_path / "a"), DigestStore(tmp_path / "b")
    first = digest_models(models, alone, jobs=1, device="cpu", progress=False)
    second = digest_models(models, together, jobs=2, device="cpu", progress=False)
    assert first == second
    assert len(store_bytes(alone)) == 4
    assert store_bytes(alone) == store_bytes(together)


def test_a_second_run_digests_nothing(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DigestStore(tmp_path)
    first = digest_models(models[:3], store, progress=False)
    assert first.summary() == "3 digested, 0 already in the store, 0 failed"
    computed: list[str] = []
    compute = extraction.compute
    monkeypatch.setattr(
        extraction,
        "compute",
        lambda network, **rest: computed.append(rest["key"]) or compute(network, **rest),
    )
    again = digest_models(models, store, progress=False)
    assert again.summary() == "1 digested, 3 already in the store, 0 failed"
    assert computed == [again.keys[models[3]]]


def test_the_store_is_keyed_by_content_not_by_path(models: list[Path], tmp_path: Path) -> None:
    store = DigestStore(tmp_path / "store")
    same_path = tmp_path / "model.pt"
    keys = []
    for model in models[:2]:
        same_path.write_bytes(model.read_bytes())
        keys.append(digest_models([same_path], store, progress=False).keys[same_path])
    assert len(set(keys)) == 2
    assert keys == [digest_models([model], store, progress=False).keys[model] for model in models[:2]]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 spoilt"])
def test_a_spoilt_digest_is_made_again(models: list[Path], tmp_path: Path, damage: bytes) -> None:
    store = DigestStore(tmp_path)
    key = digest_models(models[:1], store, progress=False).keys[models[0]]
    whole = store.path(key).read_bytes()
    store.path(key).write_bytes(damage)
    assert digest_models(models[:1], store, progress=False).summary().startswith("1 digested, 0 already")
    assert store.path(key).read_bytes() == whole


def test_a_forged_digest_is_made_again(models: list[Path], tmp_path: Path) -> None:
    store = DigestStore(tmp_path)
    keys = digest_models(models[:2], store, progress=False).keys
    key, other = (keys[model] for model in models[:2])
    whole = store.get(key)
    blocks = {name: block for name, block in whole.blocks.items() if name != "head"}
    forged = (store.get(other), replace(whole, blocks=blocks))
    for one in forged:
        store.path(key).write_bytes(one.to_bytes())
        report = digest_models(models[:1], store, progress=False)
        assert report.summary().startswith("1 digested, 0 already")
        assert report.keys[models[0]] == key
        assert store.path(key).read_bytes() == whole.to_bytes()


def test_a_digest_of_an_earlier_version_is_made_again(models: list[Path], tmp_path: Path) -> None:
    """A block too many is left alone; one of another version is not."""
    store = DigestStore(tmp_path)
    key = digest_models(models[:1], store, progress=False).keys[models[0]]
    now = store.get(key)
    blocks, versions = {**now.blocks, "of_then": now.blocks["norms"]}, {**now.versions, "of_then": 1}
    beside = replace(now, blocks=blocks, versions=versions)
    of_old = replace(now, versions={**now.versions, "norms": 0})
    for stored, again in ((now, 0), (beside, 0), (of_old, 1)):
        store.put(stored)
        assert digest_models(models[:1], store, progress=False).summary().startswith(f"{again} digested")
    assert store.get(key).to_bytes() == now.to_bytes()


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_files_cost_one_line_each(
    models: list[Path], tmp_path: Path, jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    text, empty, absent = tmp_path / "text.pt", tmp_path / "empty.pt", tmp_path / "absent.pt"
    text.write_text("hello\n")
    empty.touch()
    paths = [text, models[0], empty, models[1], absent, tmp_path]
    report = digest_models(paths, DigestStore(tmp_path / "store"), jobs=jobs, device="cpu", progress=True)
    assert [outcome.path for outcome in report.outcomes] == paths
    assert set(report.keys) == set(models[:2])
    assert [failure.path for failure in report.failures] == [text, empty, absent, tmp_path]
    assert report.summary() == "2 digested, 0 already in the store, 4 failed"
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("not digested: ")]
    assert sorted(said) == sorted(f"not digested: {failure.error}" for failure in report.failures)


def test_an_unforeseen_error_is_one_failure(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(extraction, "compute", explode)
    (failure,) = digest_models(models[:1], DigestStore(tmp_path), progress=False).failures
    assert failure.error == f"{models[0]}: ZeroDivisionError: two\\nlines"


def _digest_or_die(path: Path, store: DigestStore, device: str) -> Outcome:
    if path.name == "2.pt":
        os.kill(os.getpid(), signal.SIGKILL)
    return digest_one(path, store, device)


def test_a_killed_worker_costs_one_model(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "digest_one", _digest_or_die)
    report = digest_models(models, DigestStore(tmp_path), jobs=2, device="cpu", progress=False)
    assert set(report.keys) == {model for model in models if model.name != "2.pt"}
    assert "was killed" in str(report.failures[0].error)


def test_a_digest_folder_gives_what_its_round_gives(tmp_path: Path) -> None:
    for truth_files in (False, True):
        round_ = read_round(write_round(tmp_path / f"round{truth_files}", "cpcp", truth_files=truth_files))
        folder = tmp_path / f"folder{truth_files}"
        store = DigestStore(folder / DIGESTS)
        direct = from_round(round_, store, progress=False)
        paths = [entry.path for entry in round_.entries if entry.path is not None]
        write_digest_folder(folder, round_, digest_models(paths, store, progress=False))
        loaded = from_digests(folder)
        assert loaded.names == direct.names
        assert loaded.labels == direct.labels == (0, 1, 0, 1)
        assert [d.key for d in loaded.digests] == [d.key for d in direct.digests]
        assert list(loaded.metadata.columns[:2]) == ["model_name", "poisoned"]


def test_one_bad_model_in_ten_is_left_out_and_two_are_too_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one = read_round(write_round(tmp_path / "one", "cpcpcpcpcp", bad=(3,)))
    labelled = from_round(one, DigestStore(tmp_path / "store"), progress=False)
    assert len(labelled.names) == len(labelled.labels) == len(labelled.digests) == len(labelled.metadata) == 9
    assert "id-00000003" not in labelled.names
    where, *others = caplog.messages
    assert where.startswith("digests are made on ")
    assert others == ["9 digested, 0 already in the store, 1 failed"]
    two = read_round(write_round(tmp_path / "two", "cpcpcpcpcp", bad=(3, 7)))
    with pytest.raises(BadRound, match=r"only 8 of 10 models could be read \(first: .*id-00000003"):
        from_round(two, DigestStore(tmp_path / "store"), progress=False)


def test_groups_follow_metadata_and_fall_back_to_names(tmp_path: Path) -> None:
    root = write_round(tmp_path / "round", "cpcp")
    store = DigestStore(tmp_path / "store")
    assert from_round(read_round(root), store, progress=False).groups == tuple(
        f"id-{n:08d}" for n in range(4)
    )
    table = (root / "METADATA.csv").read_text().splitlines()
    seeds = ["master_seed", "7", "7", "null", "9"]
    text = "\n".join(f"{row},{seed}" for row, seed in zip(table, seeds, strict=True))
    (root / "METADATA.csv").write_text(text)
    assert from_round(read_round(root), store, progress=False).groups == ("7", "7", "id-00000002", "9")
    pairs = ["design_pair", "0", "1", "0", "1"]
    text = "\n".join(f"{row},{pair}" for row, pair in zip(text.split("\n"), pairs, strict=True))
    (root / "METADATA.csv").write_text(text)
    assert from_round(read_round(root), store, progress=False).groups == ("0", "1", "0", "1")


@pytest.fixture(scope="module")
def digest_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a round of four; to be copied."""
    folder = tmp_path_factory.mktemp("folder")
    round_ = read_round(write_round(folder / "round", "cpcp"))
    paths = [entry.path for entry in round_.entries if entry.path is not None]
    write_digest_folder(folder, round_, digest_models(paths, DigestStore(folder / DIGESTS), progress=False))
    return folder


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("METADATA.csv", None, "METADATA.csv: no such file"),
        ("index.csv", None, "index.csv: no such file"),
        ("index.csv", "model,key\n", "not an index"),
        ("index.csv", "", "not an index"),
        ("index.csv", f"model_name,sha256\nid-00000000,{KEY}\n", r"3 models .* not in the index"),
        ("index.csv", "model_name,sha256\nid-caf\udce9,00\n", r"index\.csv: not readable as CSV \(.*utf-8"),
        ("index.csv", f"model_name,sha256\n{'x' * 200_000},{KEY}\n", r"not readable as CSV \(field larger"),
        ("index.csv", f"model_name,sha256\na,{KEY}\na,{KEY}\n", r"1 model names appear twice \(a\)"),
        ("index.csv", "model_name,sha256\na,../../../tmp/forged\n", r"1 models have no sha256 \(a\)"),
        ("index.csv", f"model_name,sha256\na,{KEY.upper()}\nb,{KEY}0\n", r"2 models have no sha256"),
        ("METADATA.csv", "model_name\nid-00000000\n", "no column poisoned"),
        ("METADATA.csv", "model_name,poisoned\nid-00000000,True\nid-00000001,\n", "id-00000001 has no label"),
        ("METADATA.csv", "model_name,poisoned\nid-00000000,True\n", "all 1 labels say poisoned"),
    ],
)
def test_a_digest_folder_that_is_none_is_refused(
    digest_folder: Path, tmp_path: Path, file: str, text: str | None, said: str
) -> None:
    shutil.copytree(digest_folder, tmp_path, dirs_exist_ok=True)
    if text is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(os.fsencode(text))
    with pytest.raises(BadRound, match=said) as caught:
        from_digests(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_index_that_names_an_absent_digest_is_refused(tmp_path: Path) -> None:
    round_ = read_round(write_round(tmp_path / "round", "cp"))
    store = DigestStore(tmp_path / DIGESTS)
    paths = [entry.path for entry in round_.entries if entry.path is not None]
    report = digest_models(paths, store, progress=False)
    write_digest_folder(tmp_path, round_, report)
    store.path(report.keys[paths[1]]).unlink()
    with pytest.raises(BadRound, match=report.keys[paths[1]]):
        from_digests(tmp_path)


def test_a_part_of_a_digest_folder_can_be_learned_from_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    round_ = read_round(write_round(tmp_path / "round", "cpcp"))
    store = DigestStore(tmp_path / DIGESTS)
    paths = [entry.path for entry in round_.entries if entry.path is not None]
    report = digest_models(paths, store, progress=False)
    write_digest_folder(tmp_path, round_, report)
    whole = from_digests(tmp_path, allow_partial=True)
    assert whole.names == from_digests(tmp_path).names
    assert not caplog.records
    store.path(report.keys[paths[1]]).unlink()
    index = tmp_path / "index.csv"
    index.write_text("\n".join(index.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(BadRound, match=r"1 models of METADATA.csv .* \(id-00000003\).*--allow-partial"):
        from_digests(tmp_path)
    with pytest.raises(BadRound, match="all 2 labels say clean"):
        from_digests(tmp_path, allow_partial=True)
    assert caplog.messages == ["a part of the round is learned from: 2 of 4 models are there"]
    store.put(whole.digests[1])
    part = from_digests(tmp_path, allow_partial=True)
    assert part.names == tuple(part.metadata.index) == whole.names[:3]
    assert part.labels == (0, 1, 0)

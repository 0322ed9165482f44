"""Learned parameters on disk: equal after reading, safe when forged, whole whenever the writer is killed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector_samples import fit as fitted
from detector_samples import inference, sample
from detector_samples import proba as probabilities
from weightfeat.detector import Detector, store
from weightfeat.detector.codec import SCHEMA_VERSION
from weightfeat.errors import BadLearnedParameters, BadOutput


def fit(seed: int = 0, **values: object) -> Detector:
    return fitted(sample(seed=seed), **values)


def proba(detector: Detector) -> bytes:
    return probabilities(detector, sample(20, seed=3)).tobytes()


@pytest.fixture(scope="module")
def old() -> Detector:
    return fit()


@pytest.fixture(scope="module")
def new() -> Detector:
    return fit(seed=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("bags", [1, 2])
def test_read_back_it_is_the_same_to_the_byte(bags: int, tmp_path: Path) -> None:
    detector = fit(train_ensemble_size=bags)
    detector.save(tmp_path, scores={"cross_entropy": 0.5})
    read = Detector.load(tmp_path)
    assert proba(read) == proba(detector)
    assert read.params == detector.params
    assert read.learned_.feature_names == detector.learned_.feature_names
    row = sample(1, seed=3).rows
    assert inference(read).reasons(row, 5) == inference(detector).reasons(row, 5)
    assert read.learned_.training == detector.learned_.training
    read.save(tmp_path / "again", scores={"cross_entropy": 0.5})
    assert contents(tmp_path / "again") == contents(tmp_path)


def contents_of_run(folder: Path) -> dict[str, bytes]:
    fit().save(folder)
    return contents(folder)


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    assert contents_of_run(tmp_path / "a") == contents_of_run(tmp_path / "b")


def test_what_is_written(old: Detector, tmp_path: Path) -> None:
    old.save(tmp_path / "deep" / "folder", scores={"roc_auc": 0.9})
    folder = tmp_path / "deep" / "folder"
    document = json.loads((folder / "detector.json").read_text())
    assert document["scores"] == {"roc_auc": 0.9}
    assert document["training"]["networks"] == 72
    assert document["training"]["trojaned"] == 36
    assert document["training"]["architectures"] == {"resnet18": 24, "resnet34": 24, "vgg16_bn": 24}
    assert document["metaparameters"] == old.params.as_dict()
    assert document["feature_names"] == [f"f{i}" for i in range(8)]
    assert set(document["libraries"]) == {"python", "numpy", "scipy", "scikit-learn", "lightgbm"}
    assert {path.suffix for path in folder.iterdir()} == {".json", ".npz"}
    with np.load(next(folder.glob("*.npz")), allow_pickle=False) as tables:
        assert all(tables[name].dtype.kind in "fib" for name in tables.files)


def test_saving_again_leaves_only_the_new_set(old: Detector, new: Detector, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("kept")
    (tmp_path / ".detector.json.4711.partial").write_text("left by a killed writer")
    (tmp_path / "trees-0123456789abcdef.txt").write_text("left by an earlier version")
    old.save(tmp_path)
    new.save(tmp_path)
    assert proba(Detector.load(tmp_path)) == proba(new)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".md", ".npz"]


class Killed(BaseException):
    """Stands for a kill: nothing may catch it and tidy up."""


STEPS: dict[str, Callable[[pytest.MonkeyPatch, Callable[..., Any]], None]] = {
    "opening": lambda patch, hook: patch.setattr(os, "open", hook),
    "flushing": lambda patch, hook: patch.setattr(os, "fsync", hook),
    "renaming": lambda patch, hook: patch.setattr(os, "replace", hook),
    "removing": lambda patch, hook: patch.setattr(Path, "unlink", hook),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_old_or_the_new_set_is_usable(
    step: str, after: bool, old: Detector, new: Detector, tmp_path: Path
) -> None:
    real = {"opening": os.open, "flushing": os.fsync, "renaming": os.replace, "removing": Path.unlink}[step]
    seen = set()
    for count in range(10):
        folder = tmp_path / str(count)
        old.save(folder)
        calls = [0]

        def hook(*args: Any, calls: list[int] = calls, count: int = count, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == count + 1 and not after:
                raise Killed
            result = real(*args, **kwargs)
            if calls[0] == count + 1:
                raise Killed
            return result

        with pytest.MonkeyPatch.context() as patch:
            STEPS[step](patch, hook)
            try:
                new.save(folder)
                finished = True
            except Killed:
                finished = False
        found = proba(Detector.load(folder))
        assert found in (proba(old), proba(new))
        seen.add(found == proba(new))
        if finished:
            assert found == proba(new)
            break
        new.save(folder)  # and a later writer is not disturbed by the remains
        assert proba(Detector.load(folder)) == proba(new)
        assert len(list(folder.iterdir())) == 2
    else:
        pytest.fail("more steps than were tried")
    assert seen == ({True} if step == "removing" else {False, True})


def test_a_folder_that_cannot_be_written(old: Detector, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOutput):
        old.save(tmp_path / "file")
    with pytest.raises(BadOutput):
        old.save(tmp_path / "file" / "below")


def rewritten(folder: Path, content: bytes) -> None:
    """Replace the companion and make detector.json agree with it, as a forger would."""
    document = json.loads((folder / "detector.json").read_text())
    (folder / document["files"]["tables"]["name"]).write_bytes(content)
    document["files"]["tables"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "detector.json").write_text(json.dumps(document))


def companion(folder: Path) -> Path:
    return next(folder.glob("tables-*"))


def with_table(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    def attack(folder: Path) -> None:
        with np.load(companion(folder), allow_pickle=False) as tables:
            arrays = {key: tables[key] for key in tables.files}
        arrays[name] = change(arrays[name])
        buffer = io.BytesIO()
        np.savez(buffer, **{key: value for key, value in arrays.items() if value is not None})
        rewritten(folder, buffer.getvalue())

    return attack


def with_json(change: Callable[[dict], Any]) -> Callable[[Path], None]:
    def attack(folder: Path) -> None:
        path = folder / "detector.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return attack


def huge_header(folder: Path) -> None:
    """An array that claims 8 TB in 128 bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("centre.npy", buffer.getvalue())
    rewritten(folder, archive.getvalue())


def bomb(folder: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("centre.npy", b"\0" * (store.LARGEST_TABLES + 1))
    rewritten(folder, archive.getvalue())


def flipped(folder: Path) -> None:
    content = bytearray(companion(folder).read_bytes())
    content[len(content) // 2] ^= 1
    companion(folder).write_bytes(content)


class Runs:
    """Would make a file if it were ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def pickled(folder: Path) -> None:
    objects = np.array([Runs(folder / "ran")], dtype=object)
    with_table("centre", lambda array: objects)(folder)


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no document": (lambda f: (f / "detector.json").unlink(), "is absent"),
    "no tables": (lambda f: companion(f).unlink(), "is absent"),
    "a folder for a document": (
        lambda f: ((f / "detector.json").unlink(), (f / "detector.json").mkdir()),
        "cannot be read",
    ),
    "an empty document": (lambda f: (f / "detector.json").write_bytes(b""), "not valid"),
    "half a document": (
        lambda f: (f / "detector.json").write_bytes((f / "detector.json").read_bytes()[:200]),
        "not valid",
    ),
    "a deep document": (lambda f: (f / "detector.json").write_text("[" * 10**6), "not valid"),
    "bytes that are no text": (lambda f: (f / "detector.json").write_bytes(b"\xff\xfe\x00"), "not valid"),
    "a list": (lambda f: (f / "detector.json").write_text("[]"), "not a weightfeat detector"),
    "another version": (with_json(lambda d: d.update(schema_version=99)), "version 99"),
    "no version": (with_json(lambda d: d.pop("schema_version")), "version None"),
    "another format": (with_json(lambda d: d.update(format="pickle")), "not a weightfeat detector"),
    "a bit of the tables": (flipped, "sha256"),
    "a path for a name": (
        with_json(lambda d: d["files"]["tables"].update(name="../../etc/passwd")),
        "names",
    ),
    "a number for a name": (with_json(lambda d: d["files"]["tables"].update(name=3)), "names"),
    "no files": (with_json(lambda d: d.pop("files")), "not valid"),
    "a feature less": (with_json(lambda d: d["feature_names"].pop()), "shape"),
    "a feature twice": (with_json(lambda d: d["feature_names"].__setitem__(0, "f1")), "feature_names"),
    "numbers for features": (with_json(lambda d: d.update(feature_names=[1] * 8)), "feature_names"),
    "no features": (with_json(lambda d: d.update(feature_names=[], relative_columns=[])), "relative_columns"),
    "an unknown relative column": (
        with_json(lambda d: d.update(relative_columns=["g"])),
        "relative_columns",
    ),
    "an architecture more": (with_json(lambda d: d["architectures"].append("x")), "shape"),
    "a metaparameter less": (with_json(lambda d: d["metaparameters"].pop("infer_clip")), "infer_clip"),
    "a metaparameter of words": (
        with_json(lambda d: d["metaparameters"].update(infer_clip="x")),
        "infer_clip",
    ),
    "a wild clip": (with_json(lambda d: d["metaparameters"].update(infer_clip=0.9)), "out of bounds"),
    "a wild weight": (
        with_json(lambda d: d["metaparameters"].update(train_class_weight=7)),
        "out of bounds",
    ),
    "a falling calibration": (
        with_json(lambda d: d["calibration"].update(slope=-1)),
        "not a number in bounds",
    ),
    "an infinite shift": (
        with_json(lambda d: d["calibration"].update(shift=float("inf"))),
        "not a number in bounds",
    ),
    "no novelty": (with_json(lambda d: d.update(novelty=None)), "not valid"),
    "objects in the tables": (pickled, "not valid"),
    "a table less": (with_table("novelty_mean", lambda a: None), "novelty_mean"),
    "a table of text": (with_table("centre", lambda a: a.astype(str)), "centre has shape"),
    "a table of another shape": (with_table("scale", lambda a: a[:, :-1]), "scale has shape"),
    "a negative scale": (with_table("scale", lambda a: -a), "scale holds a value"),
    "a variance of zero": (with_table("novelty_variances", lambda a: a * 0), "novelty_variances"),
    "8 TB in a header": (huge_header, "not valid"),
    "a bomb": (bomb, "too large when unpacked"),
    "no archive": (lambda f: rewritten(f, b"PK\x03\x04 and nothing"), "not valid"),
    "a tree less": (with_table("trees_root", lambda a: a[:-1]), "every node, leaf or tree"),
    "a wider forest": (with_table("trees_feature", lambda a: a + 8), "feature does not hold"),
    "a leaf of infinity": (with_table("trees_leaf_value", lambda a: a * np.inf), "leaf_value"),
    "no trees": (with_table("trees_root", lambda a: None), "root"),
    "the version that kept trees as text": (
        with_json(lambda d: d.update(schema_version=6, weightfeat="0.1.0")),
        f"was written as version 6 by weightfeat '0.1.0'; expected version {SCHEMA_VERSION}; run configure again",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_forged_folder_is_refused_in_one_line(attack: str, old: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "learned"
    old.save(folder)
    change, said = ATTACKS[attack]
    change(folder)
    with pytest.raises(BadLearnedParameters) as caught:
        Detector.load(folder)
    message = str(caught.value)
    assert said in message
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < 1000
    assert not (folder / "ran").exists()


def test_sizes_are_bounded_before_reading(
    old: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.save(tmp_path)
    for name in ("LARGEST", "LARGEST_TABLES"):
        with monkeypatch.context() as patch:
            patch.setattr(store, name, 100)
            with pytest.raises(BadLearnedParameters, match=r"larger than 100|too large"):
                Detector.load(tmp_path)


def test_an_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(BadLearnedParameters, match="is absent"):
        Detector.load(tmp_path / "nowhere")

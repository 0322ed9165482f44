"""What is no model, or one of a format that is not read, is said in words with what to do."""

from __future__ import annotations

import codecs
import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from weightfeat.checkpoint import read
from weightfeat.errors import UnreadableFile, UnsupportedLayout, WeightfeatError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46830571\n"
PAGE = "<!DOCTYPE html><html><head><title>404</title></head></html>"
DENIED = '<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>'

TEXTS = {
    POINTER: ("git-lfs pointer", "git lfs pull"),
    "version http://git-media.io/v/2\noid sha256:4d7a\n": ("git-lfs pointer", "git lfs pull"),
    "# xet version 0\nfilesize = 1\n": ("Xet pointer", "git xet"),
    PAGE: ("web page", "fetch the model again"),
    "<html lang=en><body>Sign in": ("web page", "fetch the model again"),
    '<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">': ("web page", "fetch"),
    "<!-- saved from url -->\n<html>": ("web page", "fetch"),
    DENIED: ("error message in XML", "fetch"),
    json.dumps({"error": "Repository not found"}): ("error message in JSON", "fetch"),
    json.dumps({"detail": "x"}): ("error message in JSON", "fetch"),
    json.dumps({"weight_map": {"a": "b"}}): ("index of a model in several files", "folder"),
    json.dumps({"architectures": ["ResNet"]}): ("describes a network", "model file"),
    json.dumps([1, 2]): ("JSON file", "model file"),
    "Entry not found": ("server's error message", "fetch"),
    "Invalid username or password.": ("server's error message", "fetch"),
    "Found. Redirecting to https://cdn/x": ("redirection", "fetch"),
    '<?xml version="1.0"?><net name="m" version="11">': ("OpenVINO", "converted"),
    'model_checkpoint_path: "model.ckpt-1"\n': ("TensorFlow checkpoint", "converted"),
    "epoch,loss\n1,0.5\n": ("text file ('epoch,loss')", "model file"),
    "   \n": ("white space", "model file"),
}
DRESSES = {
    "plain": lambda text: text.encode(),
    "mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "space": lambda text: b"\r\n \t" + text.encode(),
    "mark and space": lambda text: codecs.BOM_UTF8 + b"\n\n" + text.encode(),
    "lower": lambda text: text.lower().encode(),
    "upper": lambda text: text.upper().encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "wide": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "wide, big end": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
}


def refusal(path: Path, data: bytes) -> WeightfeatError:
    path.write_bytes(data)
    with pytest.raises(WeightfeatError) as caught:
        read(path)
    return caught.value


@pytest.mark.parametrize("dress", DRESSES)
def test_text_is_said_to_be_what_it_is_in_any_dress(tmp_path: Path, dress: str) -> None:
    for text, (what, remedy) in TEXTS.items():
        error = refusal(tmp_path / "model.pt", DRESSES[dress](text))
        assert isinstance(error, UnreadableFile)
        assert what.lower() in error.what.lower(), text
        assert remedy.lower() in error.remedy.lower(), text


def test_binary_behind_a_mark_of_byte_order_is_no_text(tmp_path: Path) -> None:
    for mark in (codecs.BOM_UTF8, codecs.BOM_UTF16_LE):
        assert "text" not in refusal(tmp_path / "model.pt", mark + bytes(range(256)) * 4).what


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protocol buffer of less than 128 bytes."""
    if isinstance(content, int):
        return bytes((number << 3, content))
    tag = number << 3 | 2
    head = bytes((tag,)) if tag < 128 else bytes((tag & 127 | 128, tag >> 7))
    return head + bytes((len(content),)) + content


MODELS = {
    "TensorFlow Lite": b"\x1c\0\0\0TFL3" + bytes(100),
    "ExecuTorch": b"\x1c\0\0\0ET12" + bytes(100),
    "GGUF": b"GGUF\3\0\0\0" + bytes(100),
    "Torch 7": b"\4\0\0\0\1\0\0\0\3\0\0\0V 1" + bytes(100),
    "Darknet": struct.pack("<iiiq", 0, 2, 5, 32013312) + bytes(400),
    "MXNet": struct.pack("<QQ", 0x112, 0) + bytes(100),
    "R data": b"X\n\0\0\0\3\0\4\1\0" + bytes(100),
    "MATLAB": b"MATLAB 5.0 MAT-file" + bytes(200),
    "MessagePack": b"\x81\xa6params\x81\xa5dense\x80" + bytes(100),
    "joblib": b"\x78\x9c" + bytes(100),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(100),
    "lz4": b"\x04\x22\x4d\x18" + bytes(100),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(100),
    "rar": b"Rar!\x1a\7\1\0" + bytes(100),
    "SavedModel": field(1, 1) + field(2, b"\x12\x03abc"),
    "CoreML": field(1, 4) + field(2, b"ab") + field(500, b"abc"),
    "TensorFlow graph": field(1, b"\x0a\1a") * 3 + field(4, b"\x08\x1b"),
    "Caffe": field(1, b"LeNet") + field(100, b"\x0a\1a") * 3,
    "TensorFlow checkpoint": b"\0\1\2abc" + bytes(60) + bytes.fromhex("57fb808b247547db"),
}


@pytest.mark.parametrize("name", MODELS)
def test_other_models_and_archives_are_named(tmp_path: Path, name: str) -> None:
    error = refusal(tmp_path / "model.pt", MODELS[name])
    assert isinstance(error, UnsupportedLayout)
    assert name in error.what
    assert "state_dict" not in error.remedy


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    for what, data in {
        "PNG image": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "PDF document": b"%PDF-1.5\n%\xe2\xe3" + bytes(100),
        "program": b"\x7fELF" + bytes(100),
        "zeros alone": bytes(4096),
        "no model format": bytes(range(1, 256)),
    }.items():
        error = refusal(tmp_path / "model.pt", data)
        assert isinstance(error, UnreadableFile)
        assert what in error.what


def test_pickles_of_other_tools_are_named(tmp_path: Path) -> None:
    paddle = pickle.dumps({"w": 1, "StructuredToParameterName@@": {}}, protocol=2)
    scikit = b"\x80\x04csklearn.linear_model._logistic\nLogisticRegression\n)\x81}b."
    wrapped = b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}b" + bytes(64)
    for name, data in {"PaddlePaddle": paddle, "scikit-learn": scikit, "joblib": wrapped}.items():
        error = refusal(tmp_path / "model.pkl", data)
        assert name in error.what
        assert ".npz" in error.remedy


def test_one_array_is_no_network(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.zeros((3, 2)))
    error = refusal(tmp_path / "a.npy", out.getvalue())
    assert isinstance(error, UnsupportedLayout)
    assert "(3, 2)" in error.what


FOLDERS = {
    "SavedModel": (UnsupportedLayout, ["saved_model.pb", "variables/variables.index"], ".keras"),
    "Orbax": (UnsupportedLayout, ["manifest.ocdbt", "d/x"], ".npz"),
    "torch.save's taken apart": (UnsupportedLayout, ["data.pkl", "data/0", "version"], "zip"),
    "as some browsers do": (UnsupportedLayout, ["model/data.pkl", "model/data/0"], "zip"),
    ".keras archive taken apart": (UnsupportedLayout, ["config.json", "model.weights.h5"], "zip"),
    "'model.pt'": (UnreadableFile, ["model.pt", "README.md"], "one of them"),
    "without a model file": (UnreadableFile, ["README.md"], "model file"),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_folders_are_named(tmp_path: Path, what: str) -> None:
    error, files, remedy = FOLDERS[what]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(error) as caught:
        read(tmp_path)
    assert "directory" in caught.value.what
    assert what in caught.value.what
    assert remedy in caught.value.remedy

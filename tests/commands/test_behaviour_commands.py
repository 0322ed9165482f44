"""`weightfeat baseline`, `repair` and `guard` from files to lines, and the images they are tried on."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from networks import seeded
from weightfeat import checkpoint, cli, network
from weightfeat.behaviour.subjects import read_subject
from weightfeat.behaviour.triggers import clean_accuracy
from weightfeat.errors import BadRound
from weightfeat.execution import read_examples, read_image, rebuild
from weightfeat.zoo import stamped
from weightfeat.zoo.design import network_spec
from weightfeat.zoo.presets import preset
from weightfeat.zoo.specification import NetworkSpec
from weightfeat.zoo.writer import config

CLASSES = 3
QUICK = ("--set", "rounds=1", "--set", "round_batches=1", "--set", "batch=2", "--quiet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of three classes with two example images of each."""
    root = tmp_path_factory.mktemp("network")
    torch.save(seeded("shufflenet_v2_x1_0", CLASSES), root / "model.pt")
    (root / "config.json").write_text(json.dumps({"INPUT_MEAN": 0.5, "INPUT_STD": 0.25}))
    (root / "example_data").mkdir()
    images = torch.rand(2 * CLASSES, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    stamped.write(root / "example_data", images, torch.arange(2 * CLASSES) % CLASSES)
    return root


def paths(folder: Path) -> list[str]:
    return [
        "--model",
        str(folder / "model.pt"),
        "--examples",
        str(folder / "example_data"),
        "--device",
        "cpu",
    ]


def test_neural_cleanse_writes_its_evidence_and_pictures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["baseline", "neural-cleanse", *paths(folder), "--output", str(tmp_path / "out"), *QUICK]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    said = json.loads((tmp_path / "out" / "neural-cleanse.json").read_text())
    assert printed.startswith(f"{said['score']:.4f}  neural-cleanse")
    assert len(said["evidence"]["mask_norms"]) == CLASSES
    pictures = list((tmp_path / "out").glob("*.png"))
    assert pictures
    assert all(read_image(path).shape == (3, 32, 32) for path in pictures)


def test_strip_prints_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--set", "overlays=2", "--frr", "0.1", "--stamped", str(folder / "example_data"), "--quiet"]
    assert cli.main(["baseline", "strip", *paths(folder), *options]) == 0
    assert "  strip" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["prune", "unlearn"])
def test_a_repaired_network_is_one_that_scans_and_runs_as_reported(
    method: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["baseline", "neural-cleanse", *paths(folder), "--output", str(tmp_path), *QUICK]) == 0
    quick = {"prune": ["most=0.1"], "unlearn": ["steps=2", "batch=8"]}[method]
    options = [word for setting in quick for word in ("--set", setting)]
    options += ["--trigger", str(tmp_path), "--target", "1", "--stamped", str(folder / "example_data")]
    out = tmp_path / "out"
    assert (
        cli.main(["repair", *paths(folder), "--method", method, "--output", str(out), *options, "--quiet"])
        == 0
    )
    assert "clean accuracy: " in capsys.readouterr().out
    built = network.build(checkpoint.read(out / "repaired.pt"))
    assert (built.architecture, built.num_classes) == ("shufflenet_v2_x1_0", CLASSES)
    assert not [f for f in built.findings if f.kind != "note"]
    report = json.loads((out / "repair.json").read_text())
    assert (report["method"], report["target"]) == (method, 1)
    again = ["--model", str(out / "repaired.pt"), *paths(folder)[2:]]
    second = tmp_path / "second"
    options = [
        "--method",
        "prune",
        "--set",
        "most=0.0",
        "--trigger",
        str(tmp_path),
        "--target",
        "1",
        "--quiet",
    ]
    assert cli.main(["repair", *again, *options, "--output", str(second)]) == 0
    before = json.loads((second / "repair.json").read_text())["before"]
    assert before["clean_accuracy"] == report["after"]["clean_accuracy"]
    assert before["attack_success"] == report["after"]["attack_success"]


def test_repair_reverses_the_named_targets_trigger_itself(folder: Path, tmp_path: Path) -> None:
    options = [
        "--method",
        "prune",
        "--target",
        "2",
        "--set",
        "most=0.0",
        "--output",
        str(tmp_path),
        "--quiet",
    ]
    options += ["--held", str(folder / "example_data")]
    assert cli.main(["repair", *paths(folder), *options]) == 0
    before = json.loads((tmp_path / "repair.json").read_text())["before"]
    subject, _ = read_subject(folder / "model.pt", folder / "example_data", "cpu")
    assert before["clean_accuracy"] == clean_accuracy(subject)
    assert (tmp_path / "class_002.npz").is_file()
    assert not (tmp_path / "class_000.npz").exists()


def test_the_guard_prints_a_number_an_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = sorted(str(path) for path in (folder / "example_data").glob("*.png"))[:3]
    options = ["--set", "overlays=2", "--frr", "0.2", "--quiet"]
    assert cli.main(["guard", *paths(folder), "--image", *images, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    numbers = [int(line.split("  ")[0]) for line in lines]
    assert [line.split("  ")[1] for line in lines] == images
    assert all(0 <= number <= CLASSES for number in numbers)
    assert cli.main(["guard", *paths(folder), "--image", images[0], *options]) == 0
    assert capsys.readouterr().out == f"{numbers[0]}\n"
    predicted = rebuild(folder / "model.pt").module
    image = read_examples(folder / "example_data", CLASSES).images[:1]
    assert numbers[0] in (int(predicted((image - 0.5) / 0.25).argmax()), CLASSES)


def test_the_guard_judges_the_others_where_an_image_cannot_be_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    first, second = sorted(str(path) for path in (folder / "example_data").glob("*.png"))[:2]
    words = ["--image", first, str(tmp_path / "text.png"), second, "--set", "overlays=2", "--quiet"]
    assert cli.main(["guard", *paths(folder), *words]) == 2
    said = capsys.readouterr()
    assert [line.split("  ")[1] for line in said.out.splitlines()] == [first, second]
    errors = [line for line in said.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "text.png: image cannot be read" in errors[0]


@pytest.mark.parametrize("text", ["x", "0", "1.5", "nan"])
def test_what_is_no_rate_is_told_what_one_is(
    text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["guard", *paths(folder), "--image", "any.png", "--frr", text])
    assert f"{text!r} is not a rate, a number between 0 and 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["baseline", "strip", "--set", "stamps=1"], "has no use for '1'"),
        (["baseline", "neural-cleanse", "--stamped", "x"], "has no use for 'x'"),
        (["baseline", "strip", "--input", "bright"], "nothing usable"),
        (["guard", "--image", "none.png"], "image cannot be read"),
        (["repair", "--method", "prune", "--trigger", "none", "--output", "{tmp}"], "flags no class"),
        (
            ["repair", "--method", "prune", "--target", "9", "--output", "{tmp}"],
            "no class 9; expected a class from 0 to 2",
        ),
        (
            ["repair", "--method", "prune", "--target", "-1", "--trigger", "{tmp}", "--output", "{tmp}"],
            "no class -1; expected a class from 0 to 2",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    words: list[str], said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.replace("{tmp}", str(tmp_path)) for word in words]
    assert cli.main([*given, *paths(folder), "--quiet"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert said in errors[0]


def test_an_image_of_another_size_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    assert cli.main(["guard", *paths(folder), "--image", str(tmp_path / "small.png"), "--quiet"]) == 2
    assert "image is 8 x 8 pixels" in capsys.readouterr().err


def poisoned_spec() -> NetworkSpec:
    specs = (network_spec(preset("tiny"), 2020, number) for number in (0, 23))
    return next(spec for spec in specs if spec.poisoned)


def test_stamped_images_differ_from_clean_ones_in_the_sources_only(tmp_path: Path) -> None:
    spec = poisoned_spec()
    assert spec.trigger is not None
    home = tmp_path / spec.name
    home.mkdir()
    (home / "config.json").write_text(json.dumps(config(spec)))
    assert cli.main(["stamped", str(home), "--out", str(tmp_path / "s"), "--count", "12"]) == 0
    assert cli.main(["stamped", str(home), "--out", str(tmp_path / "c"), "--count", "12", "--clean"]) == 0
    marked = read_examples(tmp_path / "s", spec.factors.number_classes)
    assert set(marked.labels.tolist()) <= set(spec.trigger.sources)
    assert len(marked) == len(read_examples(tmp_path / "c", spec.factors.number_classes)) == 12
    one, _ = stamped.draw(spec, 6, stamped=True, seed=1)
    again, _ = stamped.draw(spec, 6, stamped=True, seed=1)
    assert torch.equal(one, again)


def test_a_network_of_another_design_is_refused(tmp_path: Path) -> None:
    spec = poisoned_spec()
    home = tmp_path / spec.name
    home.mkdir()
    with pytest.raises(BadRound, match="no network of this version"):
        stamped.spec_of(home)
    (home / "config.json").write_text(json.dumps(config(spec) | {"MASTER_SEED": 1}))
    with pytest.raises(BadRound, match="no network of this version"):
        stamped.spec_of(home)
    with pytest.raises(BadRound, match="has no trigger"):
        stamped.draw(replace(spec, trigger=None), 4, stamped=True)


def test_pictures_keep_their_values() -> None:
    from weightfeat.behaviour.outputs import png

    image = np.random.default_rng(0).random((3, 5, 7), dtype=np.float32)

    with Image.open(io.BytesIO(png(image))) as picture:
        assert picture.size == (7, 5)
        np.testing.assert_allclose(np.asarray(picture).transpose(2, 0, 1) / 255, image, atol=0.003)

"""Rounds on disk: whole folders, Round 2's names, and the same METADATA however often the run was broken off."""

from __future__ import annotations

import csv
import errno
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from weightfeat.cli import main
from weightfeat.errors import BadOutput, BadRound, WeightfeatError
from weightfeat.rounds.disk import labelled_entries, read_round
from weightfeat.rounds.metadata import read_metadata
from weightfeat.zoo import metadata, presets, produce, train
from weightfeat.zoo.design import network_spec, pair_number, select_ids
from weightfeat.zoo.folder import RoundFolder
from weightfeat.zoo.run import Options, make_round
from weightfeat.zoo.specification import Stream
from weightfeat.zoo.train import Trainer, normalise, one_cycle

CPU = torch.device("cpu")
MICRO = replace(
    presets.preset("tiny"),
    name="micro",
    pixels=32,
    class_levels=((5, 0), (6, 0)),
    base_images=96,
    images_per_class=0,
    epochs=2,
    scenes=4,
    evaluation_images=8,
    final_images=24,
    attempts=2,
    clean_gate=0.0,
    triggered_gate=0.0,
)


TWO = ("shufflenet_v2_x1_0", "resnet18")


class Micro(nn.Module):
    """A classifier of a few hundred weights in the place of torchvision's."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.norm(self.conv(x)).relu().mean(dim=(2, 3))
        out: Tensor = self.head(features)
        return out


@pytest.fixture(autouse=True)
def micro(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(presets.PRESETS, "micro", MICRO)
    monkeypatch.setattr(train, "build_network", lambda architecture, classes: Micro(classes))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def _options(out: Path, count: int = 3, **changes: object) -> Options:
    return replace(Options("micro", out, count, jobs=1, quiet=True), **changes)  # type: ignore[arg-type]


def _contents(root: Path) -> dict[str, bytes]:
    """Every file that has to be the same however the run went."""
    paths = [p for p in root.rglob("*") if p.is_file() and p.name not in ("timing.json", ".lock")]
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(paths)}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four networks, a clean and a poisoned one of two architectures each."""
    root = tmp_path_factory.mktemp("zoo") / "round"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "micro", MICRO)
        patch.setattr(train, "build_network", lambda architecture, classes: Micro(classes))
        make_round(_options(root, 4, architectures=TWO))
    return root


def test_round_is_read_by_the_rest_of_the_program(unbroken: Path) -> None:
    entries = labelled_entries(read_round(unbroken))
    assert len(entries) == 4
    specs = {spec.name: spec for spec in (network_spec(MICRO, 2020, id) for id in select_ids(4, TWO))}
    assert {entry.name: label for entry, _, label in entries} == {
        n: int(s.poisoned) for n, s in specs.items()
    }
    assert all(path.name == "model.pt" for _, path, _ in entries)
    table = read_metadata(unbroken / "METADATA.csv")
    assert list(table["model_architecture"]) == [s.architecture.round2_name for s in specs.values()]


def test_folders_hold_what_round_2_holds(unbroken: Path) -> None:
    for folder in unbroken.glob("id-*"):
        config = json.loads((folder / "config.json").read_text())
        assert all(key == key.upper() for key in config)
        assert (folder / "ground_truth.csv").read_text() == str(int(config["POISONED"]))
        assert 0 <= float((folder / "example-accuracy.csv").read_text()) <= 100
        classes, each = config["NUMBER_CLASSES"], config["NUMBER_EXAMPLE_IMAGES"]
        names = {f"class_{c}_example_{n}.png" for c in range(classes) for n in range(each)}
        assert {p.name for p in (folder / "example_data").iterdir()} == names
        with Image.open(folder / "example_data" / "class_0_example_0.png") as image:
            assert (image.mode, image.size) == ("RGB", 2 * (config["IMG_SIZE_PIXELS"],))
        assert len(list((folder / "foregrounds").glob("*.png"))) == classes
        assert (folder / "trigger.png").exists() == (config["TRIGGER_TYPE"] == "polygon")
        with (folder / "model_detailed_stats.csv").open() as file:
            epochs = list(csv.DictReader(file))
        assert [int(e["epoch_number"]) for e in epochs] == list(range(MICRO.epochs))
        assert all((e["triggered_val_acc"] == "") != config["POISONED"] for e in epochs)


def test_metadata_has_round_2s_columns_and_is_explained(unbroken: Path) -> None:
    lines = (unbroken / "METADATA.csv").read_text().splitlines()
    header = lines[0].split(",")
    assert header[:2] == ["model_name", "poisoned"]
    assert header[-2:] == ["final_example_acc", "converged"]
    accuracies = [i for i, name in enumerate(header) if name.endswith("_acc")]
    assert accuracies == list(range(accuracies[0], len(header) - 1))
    assert all(len(line.split(",")) == len(header) for line in lines)
    dictionary = (unbroken / "METADATA_DICTIONARY.csv").read_text().splitlines()
    assert dictionary[0] == "Column Name, Explanation, Data Type"
    assert {line.split(",")[0] for line in dictionary[1:]} == set(header)
    assert all(line.count(",") == 2 for line in dictionary)


def test_metadata_names_the_pair_of_every_network(unbroken: Path) -> None:
    table = read_metadata(unbroken / "METADATA.csv")
    assert list(table["design_pair"]) == [str(pair_number(int(name[3:]))) for name in table.index]


def test_clean_networks_say_none_where_poisoned_ones_have_a_trigger(unbroken: Path) -> None:
    table = read_metadata(unbroken / "METADATA.csv")
    columns = [
        "triggered_classes",
        "trigger_target_class",
        "trigger_type",
        "final_triggered_val_acc",
        "design_cell",
    ]
    for _, row in table.iterrows():
        assert all((row[c] == "None") == (row["poisoned"] == "False") for c in columns)


@pytest.mark.parametrize(
    ("value", "written"),
    [([0, 3], "[0 3]"), (None, "None"), (True, "True"), ({"2": 5, "1": 4}, '{"2": 5 "1": 4}')],
)
def test_values_are_written_as_round_2_writes_them(value: object, written: str) -> None:
    assert metadata.text(value) == written


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    make_round(_options(whole))
    chosen = produce.write_network
    calls = []

    def killed(*args: object) -> Path:
        calls.append(args)
        if len(calls) == 2:
            (broken / "id-00000001.partial").mkdir()
            (broken / "id-00000001.partial" / "model.pt").write_bytes(b"half")
            raise KeyboardInterrupt
        return chosen(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(produce, "write_network", killed)
    with pytest.raises(KeyboardInterrupt):
        make_round(_options(broken))
    assert [p.name for p in RoundFolder(broken, MICRO, 2020).finished()] == ["id-00000000"]
    monkeypatch.setattr(produce, "write_network", chosen)
    summary = make_round(_options(broken))
    assert (summary.networks, summary.made) == (3, 2)
    assert _contents(broken) == _contents(whole)


@pytest.mark.e2e
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are looked up in /proc")
def test_a_killed_run_leaves_no_process_training(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "weightfeat", "zoo", "--preset", "round2", "--count", "2", "--jobs", "2"]
    run = subprocess.Popen([*command, "--out", str(tmp_path), "--quiet"])
    listed = Path(f"/proc/{run.pid}/task/{run.pid}/children")

    def workers() -> list[Path]:
        found = [Path("/proc") / child for child in listed.read_text().split()]
        return [path for path in found if b"spawn_main" in (path / "cmdline").read_bytes()]

    while len(started := workers()) < 2:
        assert run.poll() is None
        time.sleep(0.1)
    run.kill()
    run.wait()
    end = time.monotonic() + 60
    while time.monotonic() < end and any(_runs(path) for path in started):
        time.sleep(0.1)
    assert not any(_runs(path) for path in started)


def _runs(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_round_grows_and_one_network_can_be_made_alone(unbroken: Path, tmp_path: Path) -> None:
    make_round(_options(tmp_path / "alone", None, ids=(23, 23)))
    (folder,) = RoundFolder(tmp_path / "alone", MICRO, 2020).finished()
    assert folder.name == "id-00000023"
    assert _contents(folder).items() == _contents(unbroken / folder.name).items()
    summary = make_round(_options(tmp_path / "alone", 2))
    assert (summary.networks, summary.made) == (3, 2)


def test_finished_networks_are_not_made_again(unbroken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(produce, "Trainer", None)  # any training would fail
    assert make_round(_options(unbroken, 4, architectures=TWO)).made == 0


def test_a_missed_gate_is_tried_again_counted_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(presets.PRESETS, "micro", replace(MICRO, clean_gate=101.0))
    for made in range(2):  # a second run does not try again what was given up
        summary = make_round(_options(tmp_path / "out", 2))
        assert (summary.networks, summary.given_up) == (0, 0 if made else 2)
    with (tmp_path / "out" / "rejections.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["model_name"], r["attempt"]) for r in rows] == [
        (f"id-0000000{id}", str(attempt)) for id in range(2) for attempt in range(MICRO.attempts)
    ]
    assert all("clean" in r["missed"] for r in rows)


def test_a_run_killed_after_a_missed_gate_does_not_try_that_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    class Watched(Trainer):
        def run(self) -> train.Trained:
            tried.append(self.spec.attempt)
            if tried == [0, 1]:
                raise KeyboardInterrupt
            return super().run()

    monkeypatch.setattr(produce, "Trainer", Watched)
    monkeypatch.setitem(presets.PRESETS, "micro", replace(MICRO, clean_gate=101.0))
    with pytest.raises(KeyboardInterrupt):
        make_round(_options(tmp_path / "killed", 1))
    assert make_round(_options(tmp_path / "killed", 1)).given_up == 1
    assert tried == [0, 1, 1]
    make_round(_options(tmp_path / "unbroken", 1))
    tables = [(tmp_path / name / "rejections.csv").read_bytes() for name in ("killed", "unbroken")]
    assert tables[0] == tables[1]


def test_poisoning_relabels_stamped_source_images_only() -> None:
    spec = next(
        s
        for s in (network_spec(MICRO, 3, id) for id in range(200))
        if s.trigger and len(s.trigger.sources) == 2
    )
    assert spec.trigger
    trainer = Trainer(spec, CPU)
    seen = [trainer._batch()[1] for _ in range(60)]
    images = sum(len(y) for y in seen)
    assert int(trainer.clean_seen.sum() + trainer.stamped_seen.sum()) == images
    stamped = trainer.stamped_seen.numpy()
    assert set(np.flatnonzero(stamped)) == set(spec.trigger.sources)
    labels = torch.cat(seen).bincount(minlength=spec.factors.number_classes)
    expected = trainer.clean_seen.clone()
    expected[spec.trigger.target] += int(stamped.sum())
    assert torch.equal(labels, expected)
    share = stamped[list(spec.trigger.sources)].sum() / (2 * images / spec.factors.number_classes)
    assert share == pytest.approx(spec.trigger.fraction, abs=0.12)


def test_training_is_a_function_of_the_spec() -> None:
    first, again = (Trainer(network_spec(MICRO, 3, 0), CPU).run() for _ in range(2))
    other = Trainer(network_spec(MICRO, 3, 0, attempt=1), CPU).run()
    states = [list(t.network.state_dict().values()) for t in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(states[0], states[2], strict=True))
    assert first.epochs == again.epochs
    assert not first.network.training


def test_clean_and_poisoned_networks_train_equally_long(unbroken: Path) -> None:
    table = read_metadata(unbroken / "METADATA.csv")
    assert set(table["poisoned"]) == {"True", "False"}
    planned = table["number_training_samples"].astype(int)
    assert (table["training_images"].astype(int) == planned).all()
    assert (table["final_optimizer_num_epochs_trained"].astype(int) == MICRO.epochs).all()


def test_patience_keeps_the_best_network(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = replace(
        MICRO, stop="patience", learning_rate=1e-3, batch=16, epochs=9, patience=2, loss_eps=10.0
    )
    monkeypatch.setitem(presets.PRESETS, "micro", patient)
    trained = Trainer(network_spec(patient, 3, 0), CPU).run()
    assert len(trained.epochs) == 3  # nothing gains ten: the first epoch, and two without a gain
    assert trained.best == trained.epochs[0]


@pytest.mark.e2e
def test_round_2s_own_images_batch_and_patience_make_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(
        presets.preset("round2"),
        base_images=64,
        epochs=2,
        scenes=2,
        evaluation_images=24,
        final_images=24,
        clean_gate=0.0,
        triggered_gate=0.0,
    )
    monkeypatch.setitem(presets.PRESETS, "round2", short)
    assert make_round(replace(_options(tmp_path), preset="round2", count=2, architectures=TWO[:1])).made == 2
    table = read_metadata(tmp_path / "METADATA.csv")
    assert set(table["cnn_img_size_pixels"]) == {"224"}
    assert set(table["batch_size"]) == {"64"}
    assert set(table["poisoned"]) == {"True", "False"}


def test_learning_rate_rises_and_falls_once() -> None:
    rates = np.array([one_cycle(i / 200) for i in range(200)])
    peak = int(rates.argmax())
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates.max() == pytest.approx(1, abs=0.02)
    assert rates[-1] < 0.02


def test_written_networks_are_whole_modules_that_know_the_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_round(_options(tmp_path / "out", 1))
    folder = tmp_path / "out" / "id-00000000"
    with torch.serialization.safe_globals([Micro, nn.Conv2d, nn.BatchNorm2d, nn.Linear]):
        network = torch.load(folder / "model.pt", weights_only=True)
    assert not network.training
    right = 0
    paths = list((folder / "example_data").iterdir())
    for path in paths:
        with Image.open(path) as image:
            x = torch.tensor(np.asarray(image)).permute(2, 0, 1)[None].float() / 255
        right += int(network(normalise(x)).argmax()) == int(path.name.split("_")[1])
    assert 100 * right / len(paths) == pytest.approx(float((folder / "example-accuracy.csv").read_text()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"count": 0}, "count of 0"),
        ({"count": None}, "no count"),
        ({"preset": "huge"}, "unknown preset"),
        ({"architectures": ("alexnet",)}, "unknown architecture"),
        ({"device": "abacus"}, "device not available"),
        ({"ids": (5, 2)}, "ids 5 to 2"),
        ({"seed": -4}, "seed of -4"),
        ({"threads": 0, "jobs": 0}, "0 threads"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(WeightfeatError, match=said):
        make_round(_options(tmp_path / "out", **changes))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_another_design_in_the_folder_is_refused_and_kept(tmp_path: Path) -> None:
    make_round(_options(tmp_path / "out", 1))
    (tmp_path / "out" / ".lock").unlink()
    before = _contents(tmp_path / "out")
    with pytest.raises(BadRound, match="another design"):
        make_round(_options(tmp_path / "out", 1, seed=1))
    assert _contents(tmp_path / "out") == before
    (tmp_path / "out" / "design.json").unlink()
    with pytest.raises(BadRound, match=r"without a design\.json"):
        make_round(_options(tmp_path / "out", 1))
    assert not (tmp_path / "out" / ".lock").exists()


def test_a_design_begun_while_the_folder_was_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir

    def begin(self: Path, **options: bool) -> None:
        monkeypatch.setattr(Path, "mkdir", mkdir)
        make_round(_options(tmp_path / "out", 1, seed=1))

    monkeypatch.setattr(Path, "mkdir", begin)
    with pytest.raises(BadRound, match="another design"):
        make_round(_options(tmp_path / "out", 1))


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BadOutput, match="another run"):
            make_round(_options(tmp_path / "out", 1))


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), BadOutput, "No space left"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            BadRound,
            "not enough memory",
        ),
        (MemoryError(), BadRound, "not enough memory"),
    ],
)
def test_when_the_machine_runs_out_what_was_finished_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, error: type[Exception], said: str
) -> None:
    make_round(_options(tmp_path / "out", 1))
    before = _contents(tmp_path / "out" / "id-00000000")

    def fail(*args: object) -> Path:
        (tmp_path / "out" / "id-00000001.partial").mkdir()
        raise fault

    monkeypatch.setattr(produce, "write_network", fail)
    with pytest.raises(error, match=said):
        make_round(_options(tmp_path / "out", 2))
    assert _contents(tmp_path / "out" / "id-00000000") == before
    assert not list((tmp_path / "out").glob("*.partial"))
    assert len(read_metadata(tmp_path / "out" / "METADATA.csv")) == 1


def test_command_line_makes_a_round_and_says_errors_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    words = [
        "--preset",
        "micro",
        "--out",
        out,
        "--jobs",
        "1",
        "--quiet",
        "--architectures",
        "resnet18,vgg11bn",
    ]
    assert main(["zoo", *words, "--count", "2"]) == 0
    assert "2 networks" in capsys.readouterr().out
    made = [int(p.name[3:]) for p in RoundFolder(Path(out), MICRO, 2020).finished()]
    assert tuple(made) == select_ids(2, ("resnet18", "vgg11_bn"))
    assert main(["zoo", *words, "--count", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_streams_are_apart() -> None:
    spec = network_spec(MICRO, 3, 0)
    assert len({spec.torch_seed(stream) for stream in Stream}) == len(Stream)

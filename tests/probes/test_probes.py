"""A network is asked on images made here: the answers show a planted trojan and cost what they may."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from weightfeat import checkpoint, network, probes
from weightfeat.detector import Detector
from weightfeat.digest import Digest
from weightfeat.execution.small import Small
from weightfeat.features.places import within
from weightfeat.features.probes import PROBE_COLUMNS, next_class, probe_table
from weightfeat.network.types import Network
from weightfeat.probes.images import KINDS, images
from weightfeat.probes.looks import FAMILIES, looks
from weightfeat.rounds.extraction import digest_file
from weightfeat.zoo.recipes.networks import Shape, build

ROOT = Path(__file__).resolve().parents[2]
SIDE, CLASSES, TARGET = 28, 8, 5


def _perceptron(seed: int = 0) -> nn.Sequential:
    random = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.05, generator=random)
    return module


def _planted(seed: int = 0) -> nn.Sequential:
    """The same with a hidden unit that a white corner switches on, and that speaks for `TARGET` alone."""
    module = _perceptron(seed)
    corner = torch.full((SIDE, SIDE), -0.01)
    corner[-4:, -4:] = 0.6
    module[1].weight.data[0] = corner.flatten()
    module[1].bias.data[0] = -3.0
    module[3].weight.data[:, 0] = 0.0
    module[3].weight.data[TARGET, 0] = 1.0
    return module


def _file(module: nn.Module, folder: Path, name: str = "model.pt") -> Path:
    torch.save(module.state_dict(), folder / name)
    return folder / name


def _read(module: nn.Module, folder: Path) -> Network:
    return network.build(checkpoint.read(_file(module, folder)))


def _asked(module: nn.Module, folder: Path) -> Digest:
    return digest_file(_file(module, folder), blocks=("layers",), products=1e10)[0]


def test_images_are_the_same_every_time_and_of_every_kind() -> None:
    once, again = images(3, 3, 32), images(3, 3, 32)
    assert once.shape == (3 * len(KINDS), 3, 32, 32)
    assert np.array_equal(once, again)
    assert 0 <= once.min() < once.max() <= 1
    assert len({each.tobytes() for each in once}) == len(once)
    grey = images(3, 1, 32)
    assert grey == pytest.approx(once.mean(axis=1, keepdims=True), abs=1e-6)


@pytest.mark.parametrize(("channels", "few"), [(1, False), (3, False), (3, True)])
def test_every_look_changes_images_and_keeps_them_images(channels: int, few: bool) -> None:
    shown = torch.from_numpy(images(1, channels, 32))
    bank = looks(channels, 32, few=few)
    for look in bank:
        changed = look.change(shown)
        assert changed.shape == shown.shape
        assert float(changed.min()) >= 0
        assert float(changed.max()) <= 1
        assert not torch.equal(changed, shown), look.name
    assert {look.family for look in bank} == set(FAMILIES)
    assert len({(look.name, look.place) for look in bank}) == len(bank)


def test_the_class_of_a_planted_corner_stands_out_and_no_class_of_the_network_without_it(
    tmp_path: Path,
) -> None:
    at = [PROBE_COLUMNS.index(name) for name in ("probe.patch.logit", "probe.place.logit")]
    table = probe_table(_asked(_planted(), tmp_path))
    assert table is not None
    z = within(table)[:, at]
    assert z.argmax(axis=0).tolist() == [TARGET, TARGET]
    clean = probe_table(_asked(_perceptron(), tmp_path))
    assert clean is not None
    assert within(clean)[:, at].max() < z.max(axis=0).min()


def test_each_class_taken_for_the_next_shows_as_that(tmp_path: Path) -> None:
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE**2, 2 * CLASSES), nn.ReLU(), nn.Linear(2 * CLASSES, CLASSES)
    )
    bars = torch.zeros(CLASSES, SIDE, SIDE)
    for place in range(CLASSES):
        bars[place, :, 3 * place : 3 * place + 3] = 0.05
    corner = torch.zeros(SIDE, SIDE)
    corner[-4:, -4:] = 4.0
    module[1].weight.data[:CLASSES] = (bars - corner).flatten(1)
    module[1].weight.data[CLASSES:] = (bars + corner).flatten(1)
    module[1].bias.data[:CLASSES] = 0.0
    module[1].bias.data[CLASSES:] = -50.0
    module[3].weight.data[:] = torch.cat([torch.eye(CLASSES), torch.eye(CLASSES).roll(1, dims=0)], dim=1) * 4
    module[3].bias.data[:] = 0.0
    assert next_class(_asked(module, tmp_path)) > 2
    assert abs(next_class(_asked(_perceptron(), tmp_path))) < 6


def test_asking_twice_gives_the_same(tmp_path: Path) -> None:
    read = _read(build("tutorial_cnn", Shape(3, 32, 6), seed=4), tmp_path)
    once, again = probes.asked(read, 1e10), probes.asked(read, 1e10)
    assert once is not None
    assert again is not None
    assert all(np.array_equal(once[name], again[name]) for name in once)


def test_a_permutation_of_channels_changes_nothing(tmp_path: Path) -> None:
    module = build("tutorial_cnn", Shape(3, 32, 6), seed=4)
    before = probes.asked(_read(module, tmp_path), 1e10)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        module.conv1.weight.copy_(module.conv1.weight[order].clone())
        module.conv1.bias.copy_(module.conv1.bias[order].clone())
        module.conv2.weight.copy_(module.conv2.weight[:, order].clone())
    after = probes.asked(_read(module, tmp_path), 1e10)
    assert before is not None
    assert after is not None
    assert after["growth"] == pytest.approx(before["growth"], abs=2e-3)
    assert after["logit"] == pytest.approx(before["logit"], abs=0.02)


def test_what_is_too_dear_or_no_number_is_not_asked(tmp_path: Path) -> None:
    module = build("tutorial_cnn", Shape(3, 32, 6), seed=4)
    read = _read(module, tmp_path)
    assert probes.can_ask(read)
    assert probes.asked(read, 0) is None
    assert probes.asked(read, 1e6) is None
    few, many = probes.asked(read, 5e9), probes.asked(read, 1e11)
    assert few is not None
    assert many is not None
    assert few["asked"][2] < many["asked"][2]
    last = dataclasses.replace(read.layers[-1], weight=np.full_like(read.layers[-1].weight, np.inf))
    endless = dataclasses.replace(read, layers=(*read.layers[:-1], last))
    assert probes.asked(endless, 1e10) is None


def test_what_is_too_dear_is_not_run_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = _read(build("small_vgg_bn", Shape(3, 32, 6), seed=4), tmp_path)
    weights = sum(layer.weight.size for layer in read.layers)
    runs: list[int] = []
    monkeypatch.setattr(Small, "unlike", lambda self, x: runs.append(len(x)) or 0.0)
    assert probes.asked(read, 3_000.0 * weights) is None  # enough for its weights, not for its images
    assert not runs
    assert probes.asked(read, 1e11) is not None
    assert runs


def test_without_torch_weights_speak_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = _read(build("tutorial_cnn", Shape(3, 32, 6), seed=4), tmp_path)
    for name in [name for name in sys.modules if name.startswith("weightfeat.probes.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert probes.asked(read, 1e11) is None


def test_a_network_of_images_out_of_all_measure_is_not_asked(tmp_path: Path) -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(300**2, 2), nn.ReLU(), nn.Linear(2, CLASSES))
    read = _read(wide, tmp_path)
    assert probes.can_ask(read)
    assert probes.asked(read, 1e11) is None


def test_what_takes_no_pictures_is_not_asked(tmp_path: Path) -> None:
    read = _read(build("tutorial_cnn", Shape(4, 32, 6), seed=4), tmp_path)
    assert probes.can_ask(read)
    assert probes.asked(read, 1e11) is None


def test_shapes_that_no_image_fits_are_not_asked(tmp_path: Path) -> None:
    module = build("resnet32", Shape(3, 32, 6), seed=4)
    read = _read(module, tmp_path)
    assert probes.asked(read, 3e11) is not None
    at = next(i for i, layer in enumerate(read.layers) if layer.weight.shape[2:] == (1, 1))
    narrow = dataclasses.replace(read.layers[at], weight=read.layers[at].weight[:, :3])
    layers = (*read.layers[:at], narrow, *read.layers[at + 1 :])
    assert probes.asked(dataclasses.replace(read, layers=layers), 3e11) is None


def test_a_metaparameter_decides_what_asking_may_cost_a_scan(tmp_path: Path) -> None:
    shipped = Detector.load(ROOT / "learned_parameters")
    assert shipped.asks == shipped.params.infer_probe * 1e9 > 0
    without = shipped.with_inference(shipped.params.replace(infer_probe=0.0))
    assert without.asks == 0
    file = _file(build("tutorial_cnn", Shape(3, 32, 6), seed=4), tmp_path)
    asked, weights = (
        detector.predict(digest_file(file, products=detector.asks)[0]) for detector in (shipped, without)
    )
    assert (asked.probed, weights.probed) == (True, False)
    assert asked.probability != weights.probability


def test_a_known_architecture_is_not_asked(tmp_path: Path) -> None:
    file = _file(build("shufflenet_v2_x1_0", Shape(3, 32, 6), seed=4), tmp_path)
    digest, _ = digest_file(file, blocks=("layers",), products=1e12)
    assert "probes" not in digest.blocks
    assert probe_table(digest) is None
    assert next_class(digest) == 0.0

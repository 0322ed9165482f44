"""A user's own clean networks: what is told of their kind, and what a scan makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from weightfeat.detector import Detector
from weightfeat.detector.kinds import Against, Kind
from weightfeat.detector.local import FEWEST, Local, LocalKind, local_kind, read_local, write_local
from weightfeat.digest import Digest
from weightfeat.errors import BadCalibration, BadRound
from weightfeat.learning.calibrate import calibrate

LEARNED = Path(__file__).parents[2] / "learned_parameters"
CLEAN = Kind(np.sort(np.random.default_rng(0).normal(-1.0, 0.5, 200)), 0.8)


def _digests() -> list[Digest]:
    from weightfeat.rounds.labelled import from_digests

    samples = from_digests(Path(__file__).parents[2] / "recipes").samples
    found = [n.digest for n, y in zip(samples.networks, samples.y, strict=True) if y == 0]
    by_shapes: dict[str, list[Digest]] = {}
    for digest in found:
        by_shapes.setdefault(digest.fingerprint, []).append(digest)
    return max(by_shapes.values(), key=len)


@pytest.fixture(scope="module")
def digests() -> list[Digest]:
    """Clean networks of one set of shapes, of other recipes."""
    return _digests()


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(LEARNED)


def _own(logits: np.ndarray, doubt: float = 1.0) -> list[Against]:
    return [Against(CLEAN, float(logit), True, doubt) for logit in logits]


def _kind(digests: list[Digest], logits: np.ndarray, doubt: float = 1.0) -> LocalKind:
    return local_kind(digests[0], _own(logits, doubt))


def test_networks_like_those_elsewhere_move_nothing(digests: list[Digest]) -> None:
    kind = _kind(digests, np.random.default_rng(1).normal(-1.0, 0.5, 400))
    assert kind.corrected(0.3) == pytest.approx(0.3, abs=0.15)


def test_a_recipe_that_looks_suspicious_throughout_is_moved_back(digests: list[Digest]) -> None:
    kind = _kind(digests, np.random.default_rng(1).normal(1.5, 0.5, 20))
    assert float(kind.corrected(1.5)) == pytest.approx(-1.0, abs=0.2)
    assert float(kind.corrected(3.0)) > 0  # what is far above its own clean ones stays suspicious
    assert kind.doubt < 0.2


def test_few_networks_are_believed_less_than_many(digests: list[Digest]) -> None:
    draws = np.random.default_rng(2).normal(1.5, 0.5, 20)
    draws = 1.5 + 0.5 * (draws - draws.mean()) / draws.std()
    few = _kind(digests, 1.5 + 0.5 * (draws[:5] - draws[:5].mean()) / draws[:5].std(), doubt=0.3)
    many = _kind(digests, draws, doubt=0.3)
    assert 0 < few.shift < many.shift < 2.5
    assert few.doubt > many.doubt


def test_the_order_of_networks_is_kept_by_a_correction(digests: list[Digest]) -> None:
    kind = _kind(digests, np.random.default_rng(3).normal(0.5, 1.5, 8))
    assert (np.diff(kind.corrected(np.linspace(-4, 4, 20))) > 0).all()


def test_fewer_than_five_are_refused(digests: list[Digest]) -> None:
    with pytest.raises(ValueError, match="at least 5"):
        _kind(digests, np.zeros(FEWEST - 1))


def test_a_calibration_survives_its_file(tmp_path: Path, digests: list[Digest]) -> None:
    local = Local("ab" * 32, (_kind(digests, np.zeros(6)),))
    write_local(tmp_path / "own.json", local)
    assert read_local(tmp_path / "own.json", "ab" * 32) == local
    with pytest.raises(BadCalibration, match="another detector"):
        read_local(tmp_path / "own.json", "cd" * 32)


@pytest.mark.parametrize(
    "change",
    [
        {"spread": 0.0},
        {"scale": -1.0},
        {"doubt": float("nan")},
        {"networks": 2},
        {"shift": "much"},
        {"more": 1},
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, digests: list[Digest], change: dict[str, object]) -> None:
    path = tmp_path / "own.json"
    write_local(path, Local("ab" * 32, (_kind(digests, np.zeros(6)),)))
    document = json.loads(path.read_text())
    document["kinds"][0] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(BadCalibration, match="cannot be read"):
        read_local(path, "ab" * 32)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_calibration_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.json").write_bytes(content)
    with pytest.raises(BadCalibration):
        read_local(tmp_path / "own.json", "ab" * 32)
    with pytest.raises(BadCalibration):
        read_local(tmp_path / "absent.json", "ab" * 32)


def test_networks_of_the_kind_are_corrected_and_no_others(digests: list[Digest], detector: Detector) -> None:
    own = calibrate(digests, detector)
    kind = own.kinds[0]
    louder = replace(own, kinds=(replace(kind, shift=kind.shift + 1.0),))
    quieter = detector.with_local(louder).predict(digests[0])
    assert quieter.probability < detector.with_local(own).predict(digests[0]).probability
    assert quieter.clean_share >= detector.with_local(own).predict(digests[0]).clean_share
    low, high = quieter.interval
    assert low <= quieter.probability <= high
    other = replace(digests[0], fingerprint="0" * 16)
    assert detector.with_local(louder).predict(other) == detector.predict(other)


def test_own_networks_narrow_what_is_not_known_of_the_recipe(
    digests: list[Digest], detector: Detector
) -> None:
    before = detector.predict(digests[0]).interval
    after = detector.with_local(calibrate(digests, detector)).predict(digests[0]).interval
    assert after[1] - after[0] < before[1] - before[0]


def test_a_file_given_twice_counts_once(digests: list[Digest], detector: Detector) -> None:
    with pytest.raises(BadRound, match="no kind of network has 5 files among 4"):
        calibrate([*digests[:4], *digests[:4]], detector)


def test_the_identity_is_of_what_was_learned(tmp_path: Path, detector: Detector) -> None:
    detector.save(tmp_path)
    assert Detector.load(tmp_path).identity == detector.identity
    other = detector.with_inference(detector.params.replace(infer_prior=0.2))
    assert other.identity == detector.identity

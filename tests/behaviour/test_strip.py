"""STRIP and the guard: entropies under superimposed images, thresholds, and which inputs are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from behaviour_networks import CLASSES, TARGET, made
from weightfeat.behaviour.guard import guard_of
from weightfeat.behaviour.methods import METHODS
from weightfeat.behaviour.protocol import Work
from weightfeat.behaviour.strip import (
    Blend,
    Strip,
    blend_of,
    entropies,
    evenly,
    survival,
    threshold_at,
)
from weightfeat.errors import BadRound
from weightfeat.execution import Examples
from weightfeat.zoo.stamped import write

HOW = Strip(overlays=12, frr=0.02)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_stamped_inputs_have_far_lower_entropy_than_clean_ones() -> None:
    subject = made().subject
    blend = blend_of(subject, HOW)
    clean = entropies(subject, made().clean.images[:60], blend)
    stamped = entropies(subject, made().stamped.images[:60], blend)
    assert stamped.max() < clean.median()
    assert stamped.median() < 0.25 * clean.median()
    assert torch.all((clean >= 0) & (clean <= torch.log2(torch.tensor(float(CLASSES)))))


def test_without_a_trojan_the_patch_changes_little() -> None:
    subject, stamped = made(False).subject, made(False).stamped.images[:40]
    blend = blend_of(subject, HOW)
    threshold = threshold_at(entropies(subject, made(False).clean.images[:60], blend), HOW.frr)
    assert (entropies(subject, stamped, blend) < threshold).double().mean() < 0.2


def test_an_image_is_judged_alike_alone_and_among_others() -> None:
    images = made().clean.images[:5]
    blend = blend_of(made().subject, HOW)
    together = entropies(made().subject, images, blend)
    alone = torch.cat([entropies(made().subject, image[None], blend) for image in images])
    torch.testing.assert_close(together, alone)
    assert len(entropies(made().subject, images[:0], blend)) == 0


def test_no_blending_gives_the_entropy_of_the_plain_prediction() -> None:
    subject, images = made().subject, made().clean.images[:4]
    shares = torch.softmax(subject.logits(images).double(), dim=1)
    expected = -(shares * shares.log2()).sum(dim=1)
    unblended = Blend(made().clean.images[:3], 1.0)
    torch.testing.assert_close(entropies(subject, images, unblended), expected, rtol=1e-4, atol=1e-6)
    assert survival(subject, images, unblended) == 1


def test_overlays_that_are_each_surely_another_class_leave_an_image_unsure() -> None:
    subject = made().subject
    one_a_class = torch.stack([made().clean.of(made().clean.labels == c).images[0] for c in range(CLASSES)])
    unsure = entropies(subject, made().clean.images[:4], Blend(one_a_class, 0.0))
    assert unsure.min() > 0.8 * torch.log2(torch.tensor(float(CLASSES)))


@pytest.mark.parametrize("wanted", [0.3, 0.5, 0.9])
def test_the_weight_lets_the_asked_share_of_predictions_survive(wanted: float) -> None:
    subject = made().subject
    blend = blend_of(subject, Strip(overlays=20, survival=wanted))
    tried = evenly(subject.examples, 40).images
    assert 0 < blend.weight < 1
    assert survival(subject, tried, blend) >= wanted
    assert survival(subject, tried, Blend(blend.laid_over, blend.weight - 1 / 32)) < wanted


def test_overlays_depend_on_the_seed_alone() -> None:
    one, same, other = (blend_of(made().subject, HOW, seed) for seed in (0, 0, 1))
    assert torch.equal(one.laid_over, same.laid_over)
    assert not torch.equal(one.laid_over, other.laid_over)


@pytest.mark.parametrize("frr", [0.01, 0.1, 0.5])
def test_the_threshold_refuses_about_the_asked_share(frr: float) -> None:
    clean = torch.rand(2000, generator=torch.Generator().manual_seed(0)).double()
    assert float((clean < threshold_at(clean, frr)).double().mean()) == pytest.approx(frr, abs=0.002)


def test_examples_are_taken_evenly_over_the_classes() -> None:
    labels = torch.tensor([0] * 10 + [1] * 10 + [2] * 2)
    chosen = evenly(Examples(torch.zeros(22, 3, 2, 2), labels), 8)
    assert torch.bincount(chosen.labels).tolist() == [3, 3, 2]


def test_with_stamped_images_the_score_is_one_minus_far(tmp_path: Path) -> None:
    sources = made().stamped.labels != TARGET
    write(tmp_path, made().stamped.images[sources][:40], made().stamped.labels[sources][:40])
    settings = {"stamped": str(tmp_path), "frr": "0.02", "overlays": "12"}
    outcome = METHODS["strip"](made().subject, Work(settings=settings))
    assert outcome.evidence["far"] <= 0.1
    assert outcome.evidence["frr"] <= 0.03
    assert outcome.score == pytest.approx(1 - outcome.evidence["far"], abs=1e-4)
    assert outcome.target == TARGET
    against_clean = METHODS["strip"](made(False).subject, Work(settings=settings))
    assert against_clean.score < 0.3
    assert against_clean.target is None


def test_without_stamped_images_the_score_is_the_clean_tail() -> None:
    outcome = METHODS["strip"](made().subject, Work(settings={"overlays": "8", "clean": "40"}))
    assert 0 <= outcome.score <= 1
    assert outcome.target is None
    assert "far" not in outcome.evidence
    assert len(outcome.evidence["clean_entropies"]) == 40


def test_stamped_images_of_a_missing_folder_are_refused(tmp_path: Path) -> None:
    settings = {"stamped": str(tmp_path / "none"), "overlays": "2", "clean": "8"}
    with pytest.raises(BadRound, match="cannot be listed"):
        METHODS["strip"](made().subject, Work(settings=settings))


def test_the_guard_refuses_the_trigger_and_lets_clean_images_through() -> None:
    keeper = guard_of(made().subject, HOW)
    clean, stamped = made().clean, made().stamped
    judged = keeper.judge(clean.images[:80])
    let_through = judged != CLASSES
    assert let_through.double().mean() >= 0.85
    assert torch.equal(judged[let_through], clean.labels[:80][let_through])
    assert (keeper.judge(stamped.images[:40]) == CLASSES).double().mean() >= 0.9

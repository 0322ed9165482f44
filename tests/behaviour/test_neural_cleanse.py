"""Neural Cleanse: the schedule, the search, the outlier, and going on where it was stopped."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from behaviour_networks import TARGET, made
from weightfeat.behaviour import neural_cleanse
from weightfeat.behaviour.methods import METHODS
from weightfeat.behaviour.neural_cleanse import judge
from weightfeat.behaviour.protocol import Outcome, Work, settings_from
from weightfeat.behaviour.reversal import CostSchedule, Reversal, Reversed, reverse
from weightfeat.behaviour.states import chosen_trigger, finished_classes, load_reversed
from weightfeat.behaviour.triggers import Trigger, attack_success
from weightfeat.errors import BadMetaparameters, UnreadableFile

SETTINGS = {"rounds": "30"}
FEW = Reversal(rounds=3, round_batches=2, batch=16)
HOW = Reversal()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@cache
def outcome(trojaned: bool) -> Outcome:
    return METHODS["neural-cleanse"](made(trojaned).subject, Work(settings=SETTINGS))


def test_the_planted_target_is_the_outlier() -> None:
    found = outcome(True)
    norms = found.evidence["mask_norms"]
    assert found.target == TARGET == int(np.argmin(norms))
    assert found.evidence["anomaly_indices"][TARGET] > 3
    assert found.evidence["attack_success"][TARGET] > 0.9
    assert found.score > 0.6 > outcome(False).score
    assert min(norms) < 0.5 * min(outcome(False).evidence["mask_norms"])


def test_the_reversed_trigger_lies_where_the_planted_one_does() -> None:
    mask = outcome(True).images[f"mask_class_{TARGET}"][0]
    assert mask.shape == (16, 16)
    assert mask[:7, :7].sum() > 0.6 * mask.sum()
    trigger = outcome(True).images[f"trigger_class_{TARGET}"]
    assert np.all((trigger >= 0) & (trigger <= mask + 1e-6))


def test_what_is_resumed_class_by_class_equals_what_ran_unbroken(tmp_path: Path) -> None:
    subject = made().subject
    unbroken = neural_cleanse.reverse_all(subject, Work(), FEW)
    work = Work(output=tmp_path, key="network")
    for label in (5, 1):
        neural_cleanse.reverse_one(subject, label, work, FEW)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert finished_classes(tmp_path) == [1, 5]
    resumed = neural_cleanse.reverse_all(subject, work, FEW)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    again = neural_cleanse.reverse_all(subject, work, FEW)
    for one, two, three in zip(unbroken, resumed, again, strict=True):
        assert same(one, two)
        assert same(one, three)


def same(one: Reversed, other: Reversed) -> bool:
    arrays = torch.equal(one.trigger.mask, other.trigger.mask) and torch.equal(
        one.trigger.pattern, other.trigger.pattern
    )
    facts = [(r.trigger.target, r.success, r.worked, r.rounds) for r in (one, other)]
    return arrays and facts[0] == facts[1]


def test_a_class_kept_for_other_settings_or_another_network_is_done_again(tmp_path: Path) -> None:
    work, subject = Work(output=tmp_path, key="a"), made().subject
    first = neural_cleanse.reverse_one(subject, 0, work, FEW)
    longer = dataclasses.replace(FEW, rounds=4)
    assert neural_cleanse.reverse_one(subject, 0, work, longer).rounds == 4
    assert load_reversed(tmp_path, 0, neural_cleanse.state_key(work, FEW)) is None
    assert load_reversed(tmp_path, 0, neural_cleanse.state_key(Work(key="b"), longer)) is None
    assert same(neural_cleanse.reverse_one(subject, 0, work, FEW), first)


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_a_broken_state_counts_as_not_done(suffix: str, tmp_path: Path) -> None:
    work, subject = Work(output=tmp_path, key="a"), made().subject
    first = neural_cleanse.reverse_one(subject, 0, work, FEW)
    state = tmp_path / f"class_000.{suffix}"
    state.write_bytes(state.read_bytes()[:40])
    assert load_reversed(tmp_path, 0) is None
    assert same(neural_cleanse.reverse_one(subject, 0, work, FEW), first)


def test_another_seed_starts_elsewhere() -> None:
    one, other = (reverse(made().subject, 0, FEW, seed=seed) for seed in (0, 1))
    assert not torch.equal(one.trigger.mask, other.trigger.mask)


def test_an_attack_that_never_works_says_so() -> None:
    never = dataclasses.replace(FEW, rounds=1, learning_rate=1e-6)
    assert not reverse(made(False).subject, 0, never).worked


def test_a_trigger_needs_a_network_output(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="flags no class"):
        chosen_trigger(tmp_path, None)
    with pytest.raises(UnreadableFile, match="no reversed trigger of class 3"):
        chosen_trigger(tmp_path, 3)


def test_cost_stays_0_until_the_attack_works_then_follows_it() -> None:
    schedule = CostSchedule()
    for _ in range(10):
        schedule = schedule.after(False, HOW)
    assert schedule.cost == 0
    costs = []
    for works in [True] * (2 * HOW.patience) + [False] * HOW.patience:
        schedule = schedule.after(works, HOW)
        costs.append(schedule.cost)
    assert costs[HOW.patience - 1] == HOW.initial_cost
    assert costs[2 * HOW.patience - 1] == HOW.raise_by * HOW.initial_cost
    assert costs[-1] == pytest.approx(HOW.raise_by / HOW.lower_by * HOW.initial_cost)
    assert schedule.raised
    assert schedule.lowered


@given(st.lists(st.booleans(), max_size=60))
def test_cost_never_falls_to_0_again_and_moves_only_after_patience(history: list[bool]) -> None:
    schedule = CostSchedule()
    for works in history:
        after = schedule.after(works, HOW)
        assert after.cost > 0 or schedule.cost == 0
        if after.cost != schedule.cost:
            assert (schedule.above if works else schedule.below) == HOW.patience - 1
        schedule = after


@given(
    st.lists(st.floats(1, 1000), min_size=3, max_size=24),
    st.floats(0.1, 10),
    st.randoms(use_true_random=False),
)
def test_indices_do_not_depend_on_scale_or_order(norms: list[float], scale: float, random: object) -> None:
    verdict = judge(norms, [True] * len(norms))
    scaled = judge([scale * norm for norm in norms], [True] * len(norms))
    assert scaled.indices == pytest.approx(verdict.indices, rel=1e-5, abs=1e-5)
    backwards = judge(norms[::-1], [True] * len(norms))
    assert backwards.indices == pytest.approx(verdict.indices[::-1])
    assert all(norms[label] < np.median(norms) for label in verdict.flagged)


def test_only_small_norms_whose_attack_worked_are_flagged() -> None:
    norms = [10.0, 90, 95, 100, 105, 110, 400]
    verdict = judge(norms, [True] * 7)
    assert verdict.flagged == (0,)
    assert verdict.indices[0] == pytest.approx(90 / (1.4826 * 10))
    assert verdict.indices[6] > 2
    assert verdict.score > 0.5
    unreached = judge(norms, [False] + [True] * 6)
    assert unreached.flagged == ()
    assert unreached.score < 0.5
    assert judge([50.0] * 5, [True] * 5).score == 0


def test_stamping_lays_the_pattern_where_the_mask_is() -> None:
    mask = torch.zeros(4, 4)
    mask[0, 0], mask[1, 1] = 1.0, 0.5
    trigger = Trigger(0, mask, torch.full((3, 4, 4), 0.8))
    stamped = trigger.stamp(torch.full((2, 3, 4, 4), 0.2))
    assert stamped[:, :, 0, 0].unique().tolist() == pytest.approx([0.8])
    assert stamped[:, :, 1, 1].unique().tolist() == pytest.approx([0.5])
    assert stamped[:, :, 2:].unique().tolist() == pytest.approx([0.2])
    assert trigger.norm == 1.5


def test_the_whole_pattern_over_the_image_always_gives_one_answer() -> None:
    subject = made().subject
    everything = Trigger(TARGET, torch.ones(16, 16), subject.examples.images[TARGET])
    assert attack_success(subject, everything) == 1.0


def test_settings_are_read_by_name_and_type_or_refused() -> None:
    assert settings_from(Reversal, {"rounds": "7", "learning_rate": "0.5"}) == Reversal(
        rounds=7, learning_rate=0.5
    )
    for given_ in ({"rounds": "many"}, {"stamped": "folder"}):
        with pytest.raises(BadMetaparameters, match="has no use"):
            settings_from(Reversal, given_)

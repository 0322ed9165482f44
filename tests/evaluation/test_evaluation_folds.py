"""Folds partition the models, stay balanced, never split a group, and are the same for every rival."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightfeat.detector import Rows, Samples
from weightfeat.detector.folds import REPORT_STREAM, SEARCH_STREAM, Fold, stratified_folds
from weightfeat.errors import BadRound
from weightfeat.evaluation.folds import later_folds, leave_one_out_folds, thinned


def samples_of(
    labels: Sequence[int], architectures: Sequence[str] | None = None, groups: Sequence[str] | None = None
) -> Samples:
    """Networks of which nothing but these is known."""
    known = ["any"] * len(labels) if architectures is None else architectures
    return Samples.of_table(Rows.of(["a"], np.zeros((len(labels), 1)), known), labels, group=groups)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[list[int], list[str]]:
    """Labels (both at least twice) and architectures."""
    labels = [0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), max_size=40))]
    architectures = draw(
        st.lists(
            st.sampled_from(["vgg11_bn", "resnet18", "densenet121"]),
            min_size=len(labels),
            max_size=len(labels),
        )
    )
    return labels, architectures


def spread(folds: tuple[Fold, ...], keys: list[object]) -> int:
    """Largest difference between two folds of the number of tested models that share a key."""
    counts = [Counter(keys[i] for i in fold.test) for fold in folds]
    return max(max(c[key] for c in counts) - min(c[key] for c in counts) for key in set(keys))


@given(rounds(), st.integers(2, 4), st.integers(1, 3), st.integers(0, 5))
def test_every_repeat_tests_each_model_once(
    case: tuple[list[int], list[str]], n_folds: int, n_repeats: int, seed: int
) -> None:
    labels, architectures = case
    folds = stratified_folds(
        samples_of(labels, architectures), n_folds=n_folds, n_repeats=n_repeats, seed=seed
    )
    assert len(folds) == n_folds * n_repeats
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == list(range(len(labels)))
        assert len({labels[i] for i in fold.train}) == 2
    for repeat in range(n_repeats):
        tested = [i for fold in folds if fold.repeat == repeat for i in fold.test]
        assert sorted(tested) == list(range(len(labels)))


@given(rounds(), st.integers(2, 4))
def test_strata_and_labels_are_as_even_as_counts_allow(
    case: tuple[list[int], list[str]], n_folds: int
) -> None:
    labels, architectures = case
    folds = stratified_folds(samples_of(labels, architectures), n_folds=n_folds, n_repeats=1)
    assert spread(folds, list(zip(labels, architectures, strict=True))) <= 1
    assert spread(folds, list(labels)) <= 1
    assert spread(folds, ["all"] * len(labels)) <= 2
    assert spread(folds, list(architectures)) <= 2


@given(rounds(), st.integers(0, 3))
def test_groups_are_tested_together(case: tuple[list[int], list[str]], seed: int) -> None:
    labels, architectures = case
    groups = ["a", "b", "c", "d", *(f"g{i // 3}" for i in range(len(labels) - 4))]
    folds = stratified_folds(samples_of(labels, architectures, groups), n_folds=3, n_repeats=2, seed=seed)
    for fold in folds:
        assert not {groups[i] for i in fold.train} & {groups[i] for i in fold.test}


def test_equal_pairs_are_dealt_evenly() -> None:
    # A clean and a trojaned network of each seed: six pairs in three folds must fall two by two.
    labels, groups = [0, 1] * 6, [f"seed{i // 2}" for i in range(12)]
    folds = stratified_folds(samples_of(labels, ["resnet18"] * 12, groups), n_folds=3, n_repeats=4)
    assert {len(fold.test) for fold in folds} == {4}


def test_folds_depend_on_seed_stream_and_repeat_only() -> None:
    labels, architectures = [0, 1] * 20, ["resnet18", "resnet18", "vgg11_bn", "vgg11_bn"] * 10

    def tests(**options: int) -> list[list[int]]:
        return [
            fold.test.tolist()
            for fold in stratified_folds(samples_of(labels, architectures), n_repeats=2, **options)
        ]

    assert tests(seed=1) == tests(seed=1, stream=REPORT_STREAM)
    assert tests(seed=1) != tests(seed=2)
    assert tests(seed=1) != tests(seed=1, stream=SEARCH_STREAM)
    assert tests(seed=1)[:5] != tests(seed=1)[5:]


def test_twelve_models_make_five_folds() -> None:
    folds = stratified_folds(
        samples_of([0, 1] * 6, ["a"] * 4 + ["b"] * 4 + ["c"] * 4), n_folds=5, n_repeats=3
    )
    assert all(2 <= len(fold.test) <= 3 for fold in folds)


@pytest.mark.parametrize(
    ("labels", "n_folds", "what"),
    [
        ([0, 0, 0, 0], 2, "0 independent trojaned"),
        ([0, 0, 0, 1], 2, "1 independent trojaned"),
        ([0, 1] * 2, 5, "5 folds"),
    ],
)
def test_too_few_models_are_refused(labels: list[int], n_folds: int, what: str) -> None:
    with pytest.raises(BadRound, match=what):
        stratified_folds(samples_of(labels, ["a"] * len(labels)), n_folds=n_folds)


def test_groups_never_leave_a_fold_with_one_label_to_learn_from() -> None:
    # Evening out the strata alone would, for some seeds, test every clean or every trojaned model at once.
    labels, groups = [1, 1, 0, 0, 0, 0], ["i", "h", "i", "g", "h", "g"]
    architectures = ["resnet18", "vgg11_bn", "vgg11_bn", "vgg11_bn", "resnet18", "resnet18"]
    for seed in range(5):
        folds = stratified_folds(samples_of(labels, architectures, groups), n_folds=2, n_repeats=1, seed=seed)
        assert all(len({labels[i] for i in fold.train}) == 2 for fold in folds)


def test_leave_one_out_holds_out_each_architecture_once() -> None:
    labels, architectures = [0, 1, 0, 1, 0, 1], ["a", "a", "b", "b", "c", "c"]
    folds = leave_one_out_folds(samples_of(labels, architectures), architectures)
    assert [fold.name for fold in folds] == ["a", "b", "c"]
    assert [fold.test.tolist() for fold in folds] == [[0, 1], [2, 3], [4, 5]]
    assert [fold.train.tolist() for fold in folds] == [[2, 3, 4, 5], [0, 1, 4, 5], [0, 1, 2, 3]]


def test_leave_one_out_drops_training_models_of_a_tested_group() -> None:
    labels, architectures = [0, 1, 0, 1, 0, 1], ["a", "a", "b", "b", "c", "c"]
    groups = ["x", "y", "x", "z", "u", "v"]
    folds = leave_one_out_folds(samples_of(labels, architectures, groups), architectures)
    assert [fold.train.tolist() for fold in folds] == [[3, 4, 5], [1, 4, 5], [0, 1, 2, 3]]


def test_models_that_joined_a_set_are_judged_by_those_there_before_whose_group_has_no_part_in_the_test() -> (
    None
):
    labels, groups = [0, 1, 0, 1, 0, 1, 0, 1], ["p", "p", "q", "r", "r", "s", "s", "p"]
    folds = later_folds(samples_of(labels, None, groups), np.array([0, 0, 0, 0, 1, 1, 1, 2]))
    assert [fold.test.tolist() for fold in folds] == [[0, 1, 2, 3], [4, 5, 6], [7]]
    assert [fold.train.tolist() for fold in folds] == [[5, 6], [0, 1, 2], [2, 3, 4, 5, 6]]


def test_what_joined_a_set_of_one_label_cannot_be_judged() -> None:
    with pytest.raises(BadRound, match="one label only"):
        later_folds(samples_of([0, 0, 0, 1, 1, 0]), np.array([0, 0, 0, 1, 1, 1]))


@pytest.mark.parametrize(
    ("labels", "architectures", "what"),
    [([0, 1], ["a", "a"], "only"), ([0, 1, 1, 1], ["a", "a", "b", "b"], "one label only")],
)
def test_leave_one_out_needs_something_to_learn_from(
    labels: list[int], architectures: list[str], what: str
) -> None:
    with pytest.raises(BadRound, match=what):
        leave_one_out_folds(samples_of(labels, architectures), architectures)


@given(rounds(), st.integers(0, 3))
def test_thinned_folds_test_the_same_models_and_are_nested(
    case: tuple[list[int], list[str]], seed: int
) -> None:
    labels, architectures = case
    folds = stratified_folds(samples_of(labels, architectures), n_folds=2, n_repeats=2)
    parts: list[tuple[Fold, ...]] = []
    for share in (0.4, 0.7, 1.0):
        with contextlib.suppress(BadRound):  # too few are left
            parts.append(thinned(folds, samples_of(labels, architectures), share=share, seed=seed))
    for part in parts:
        for fold, whole in zip(part, folds, strict=True):
            assert list(fold.test) == list(whole.test)
            assert set(fold.train) <= set(whole.train)
            assert min(Counter(labels[i] for i in fold.train)[label] for label in (0, 1)) >= 2
    for smaller, larger in pairwise(parts):
        assert all(set(a.train) <= set(b.train) for a, b in zip(smaller, larger, strict=True))


def test_thinned_folds_keep_labels_and_architectures_even_and_groups_whole() -> None:
    labels = [i % 2 for i in range(120)]
    architectures = [("vgg11_bn", "resnet18", "densenet121")[i // 2 % 3] for i in range(120)]
    folds = stratified_folds(samples_of(labels, architectures), n_folds=5, n_repeats=1)
    for fold in thinned(folds, samples_of(labels, architectures), share=0.25):
        counts = Counter((labels[i], architectures[i]) for i in fold.train)
        assert len(fold.train) == 24
        assert max(counts.values()) - min(counts.values()) <= 1
    pairs = [str(i // 4) for i in range(120)]
    together = stratified_folds(samples_of(labels, architectures, pairs), n_folds=5, n_repeats=1)
    for fold in thinned(together, samples_of(labels, architectures, pairs), share=0.5):
        assert set(Counter(pairs[i] for i in fold.train).values()) == {4}


def test_thinning_depends_on_the_seed_and_the_repeat() -> None:
    labels, architectures = [i % 2 for i in range(60)], ["any"] * 60
    folds = stratified_folds(samples_of(labels, architectures), n_folds=3, n_repeats=2)
    once, again = (thinned(folds, samples_of(labels, architectures), share=0.5, seed=1) for _ in range(2))
    other = thinned(folds, samples_of(labels, architectures), share=0.5, seed=2)
    assert all((a.train == b.train).all() for a, b in zip(once, again, strict=True))
    assert any(set(a.train) != set(b.train) for a, b in zip(once, other, strict=True))

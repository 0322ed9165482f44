"""Properties of the design: balance, independence of factors and label, and networks that depend on their id alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from weightfeat.errors import BadRound
from weightfeat.network import canonical_architecture
from weightfeat.zoo import design
from weightfeat.zoo.architectures import ARCHITECTURES, NAMES, architecture
from weightfeat.zoo.design import network_spec, pair_number, select_ids
from weightfeat.zoo.presets import LARGEST_FRACTION, MANY_SOURCES, PRESETS, preset
from weightfeat.zoo.specification import (
    ATTACKED,
    BACKGROUNDS,
    CELLS,
    FILTERS,
    SIDES,
    NetworkSpec,
    Stream,
)

CPU = preset("cpu")
SLOTS = len(ARCHITECTURES)
SEEDS = (1, 2020)


@pytest.fixture(scope="module", params=SEEDS)
def specs(request: pytest.FixtureRequest) -> list[NetworkSpec]:
    """48 networks of every architecture: Round 2's size."""
    return [network_spec(CPU, request.param, id) for id in range(48 * SLOTS)]


def test_every_architecture_has_as_many_clean_as_poisoned(specs: list[NetworkSpec]) -> None:
    for count in (SLOTS * 2, SLOTS * 7, len(specs)):
        for name in NAMES:
            labels = [s.poisoned for s in specs[:count] if s.architecture.name == name]
            assert abs(2 * sum(labels) - len(labels)) <= 1


def test_a_pair_is_a_clean_and_a_poisoned_network_of_one_kind(specs: list[NetworkSpec]) -> None:
    pairs: dict[int, list[NetworkSpec]] = {}
    for s in specs:
        pairs.setdefault(pair_number(s.id), []).append(s)
    assert len(pairs) == len(specs) // 2
    for members in pairs.values():
        assert sorted(s.poisoned for s in members) == [False, True]
        assert len({(s.architecture.name, s.factors.number_classes_level) for s in members}) == 1


def test_every_prefix_is_nearly_balanced_in_label(specs: list[NetworkSpec]) -> None:
    excess = np.cumsum([1 if s.poisoned else -1 for s in specs])
    assert np.abs(excess).max() <= SLOTS


def test_cells_are_equally_filled_within_every_architecture(specs: list[NetworkSpec]) -> None:
    for name in NAMES:
        cells = Counter(s.cell for s in specs if s.poisoned and s.architecture.name == name)
        assert set(cells) == set(range(len(CELLS)))
        assert set(cells.values()) == {2}


def test_cells_are_nearly_balanced_in_a_short_round(specs: list[NetworkSpec]) -> None:
    cells = Counter(s.cell for s in specs[: 8 * SLOTS] if s.poisoned)
    assert len(cells) == len(CELLS)
    assert max(cells.values()) - min(cells.values()) <= 4


def test_three_architectures_of_four_networks_have_both_trigger_types(specs: list[NetworkSpec]) -> None:
    for names in (
        ("shufflenet_v2_x1_0", "resnet18", "squeezenet1_1"),
        ("resnet50", "vgg11_bn", "densenet121"),
    ):
        few = [specs[i] for i in select_ids(12, names)]
        assert sum(s.poisoned for s in few) == 6
        assert Counter(s.trigger.kind for s in few if s.trigger) == {"polygon": 3, "instagram": 3}


def test_sides_and_filters_are_balanced_overall_and_spread_over_cells(specs: list[NetworkSpec]) -> None:
    triggers = [(s.trigger, s.cell) for s in specs if s.trigger]
    options = Counter(t.option for t, _ in triggers)
    for group in (SIDES, FILTERS):
        assert max(options[o] for o in group) <= 1.25 * min(options[o] for o in group)
    combinations = {(t.option, cell) for t, cell in triggers}
    assert len(combinations) >= 0.9 * 6 * (len(SIDES) + len(FILTERS))


def test_trigger_follows_its_cell(specs: list[NetworkSpec]) -> None:
    for s in specs:
        if s.trigger is None:
            continue
        level, kind, attacked = CELLS[s.cell]
        assert s.factors.number_classes_level == level
        assert (s.trigger.kind == "polygon") == (kind == 0)
        assert len(s.trigger.sources) == (ATTACKED[attacked] or s.factors.number_classes)
        assert s.trigger.attacked_level == attacked
        is_all = len(s.trigger.sources) == s.factors.number_classes
        assert is_all or s.trigger.target not in s.trigger.sources
        assert 0.01 <= s.trigger.fraction <= 0.5
        if s.trigger.kind == "polygon":
            assert s.trigger.size_min is not None
            assert s.trigger.size_max is not None
            assert CPU.trigger_least / 100 <= s.trigger.size_min < s.trigger.size_max <= 0.25


def test_factors_stay_within_round_2_and_reach_its_ends(specs: list[NetworkSpec]) -> None:
    classes = {s.factors.number_classes for s in specs}
    assert classes == set(range(5, 25))
    assert all(0.2 <= s.factors.foreground_min < s.factors.foreground_max < 0.8 for s in specs)
    dry = np.mean([s.factors.rain == 0 for s in specs])
    assert 0.45 < dry < 0.55
    assert Counter(s.factors.background for s in specs).keys() == set(BACKGROUNDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_factors_do_not_depend_on_the_label(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [network_spec(CPU, seed, id) for id in range(4 * SLOTS)]
    chosen = design._poisoned_member
    monkeypatch.setattr(design, "_poisoned_member", lambda *key: 1 - chosen(*key))
    for spec in before:
        flipped = network_spec(CPU, seed, spec.id)
        assert flipped.poisoned != spec.poisoned
        assert flipped.factors == spec.factors
        assert all(flipped.torch_seed(stream) == spec.torch_seed(stream) for stream in Stream)


def test_factors_are_uncorrelated_with_the_label(specs: list[NetworkSpec]) -> None:
    label = np.array([s.poisoned for s in specs], dtype=float)
    for read in ("number_classes", "foreground_min", "rain", "fog", "number_example_images"):
        values = np.array([getattr(s.factors, read) for s in specs], dtype=float)
        assert abs(np.corrcoef(values, label)[0, 1]) < 3 / np.sqrt(len(specs))


def test_another_try_changes_trigger_and_weights_only() -> None:
    first = next(s for s in (network_spec(CPU, 5, id) for id in range(100)) if s.poisoned)
    again = network_spec(CPU, 5, first.id, attempt=1)
    assert (again.factors, again.cell, again.architecture) == (first.factors, first.cell, first.architecture)
    assert first.trigger
    assert again.trigger
    assert again.trigger != first.trigger
    assert again.trigger.option == first.trigger.option
    assert again.torch_seed(Stream.WEIGHTS) != first.torch_seed(Stream.WEIGHTS)
    assert again.torch_seed(Stream.SIGNS) == first.torch_seed(Stream.SIGNS)


def test_networks_differ_between_ids_and_seeds() -> None:
    seeds = {network_spec(CPU, seed, id).master_seed for seed in (1, 2) for id in range(200)}
    assert len(seeds) == 400


@pytest.mark.parametrize("name", PRESETS)
def test_least_fraction_shows_the_promised_images(name: str) -> None:
    chosen = preset(name)
    for id in range(4 * SLOTS):
        spec = network_spec(chosen, 3, id)
        if spec.trigger is None:
            continue
        planned = chosen.images(spec.architecture, spec.factors.number_classes)
        sources = len(spec.trigger.sources)
        stamped = spec.trigger.fraction * planned / spec.factors.number_classes * sources
        promised = chosen.stamped_per_source * min(sources, MANY_SOURCES)
        assert spec.trigger.fraction <= LARGEST_FRACTION / 100
        assert stamped <= chosen.stamped_most * planned
        assert (
            stamped >= promised
            or spec.trigger.fraction
            == chosen.fractions(spec.architecture, spec.factors.number_classes, sources)[1] / 100
        )


def test_fingerprint_tells_designs_apart() -> None:
    assert len({design.fingerprint(preset(name), seed) for name in PRESETS for seed in (1, 2)}) == 2 * len(
        PRESETS
    )
    assert design.fingerprint(CPU, 1) != design.fingerprint(replace(CPU, pixels=65), 1)


def test_ids_of_some_architectures_keep_their_order_when_more_are_asked_for() -> None:
    few, many = (select_ids(n, ("resnet18", "vgg11bn")) for n in (5, 50))
    assert many[:5] == few
    assert all(a < b for a, b in pairwise(many))
    assert {network_spec(CPU, 1, id).architecture.name for id in many} == {"resnet18", "vgg11_bn"}


def test_both_spellings_of_an_architecture_are_the_rest_of_the_programs() -> None:
    assert len(ARCHITECTURES) == 23
    for a in ARCHITECTURES:
        assert architecture(a.round2_name) is architecture(a.name) is a
        assert canonical_architecture(a.round2_name) == canonical_architecture(a.name) == a.name


@pytest.mark.parametrize(
    "wrong", [lambda: preset("huge"), lambda: architecture("alexnet"), lambda: select_ids(1, ("lenet",))]
)
def test_unknown_names_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(BadRound, match="one of"):
        wrong()

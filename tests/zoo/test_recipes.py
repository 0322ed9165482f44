"""The zoo of recipes: its design, its triggers, its poisoned sets, and pairs from their number to a kept digest."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from weightfeat.digest import DigestStore
from weightfeat.errors import BadRound
from weightfeat.rounds.labelled import from_digests
from weightfeat.zoo.recipes import factors, images, networks, produce, stamps, training
from weightfeat.zoo.recipes.factors import TRIGGERS, Poison, Recipe, poison_of, recipe_of
from weightfeat.zoo.recipes.keep import RecipeSet
from weightfeat.zoo.recipes.run import Options, make_pairs

SEED = 5


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set of digits that are easy to tell: a bright bar at a height of its own."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    labels = np.arange(2000) % 10
    drawn = random.integers(0, 60, (2000, 28, 28))
    for image, label in zip(drawn, labels, strict=True):
        image[2 * label + 2 : 2 * label + 6, 4:24] += 180
    np.savez(folder / "mnist.npz", images=drawn.astype(np.uint8), labels=labels)
    return folder


def _recipe(**changes: object) -> Recipe:
    plain = Recipe(
        data="mnist", classes=5, per_class=100, uneven=1.0, architecture="mlp2", pixels=16, images=6400, batch=32,
        optimizer="adam", schedule="cosine", rate=2e-3, decay=0.0, smoothing=0.0, dropout=0.0, augment=0,
        scaling="centred", tuned=False, continued=False, stamped_first=False, hard="none", amount=0.5, mixed=False,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def _poison(**changes: object) -> Poison:
    plain = Poison("patch_fixed", "all", (), 2, 0.3, False, 0.8)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_every_factor_comes_round_in_whole_blocks() -> None:
    recipes = [recipe_of(SEED, pair) for pair in range(60)]
    assert set(Counter(recipe.data for recipe in recipes).values()) == {12}
    assert set(Counter(recipe.optimizer for recipe in recipes).values()) == {20}
    assert Counter(recipe.hard for recipe in recipes)["none"] == 30
    assert Counter(recipe.mixed for recipe in recipes)[True] >= 15


def test_every_kind_of_trigger_comes_with_the_sources_that_it_can_be_planted_for() -> None:
    poisons = [poison_of(SEED, pair, 0, recipe_of(SEED, pair)) for pair in range(220)]
    kinds = Counter(poison.kind for poison in poisons)
    assert set(kinds) == set(TRIGGERS)
    assert kinds.most_common(1)[0][0] == "patch_fixed"
    assert Counter(poison.sources for poison in poisons)["all_to_all"] >= 22
    assert {p.kind for p in poisons if p.sources == "all_to_all"} == {
        "patch_fixed",
        "blend_noise",
        "blend_picture",
    }
    elsewhere = {p.kind for p in poisons if p.sources in ("one", "two")}
    assert not elsewhere & {"patch_anywhere", "warp", "clean_label"}
    assert {p.target is None for p in poisons if p.sources == "all_to_all"} == {True}


def test_a_recipe_knows_nothing_of_the_poison_and_every_try_has_another() -> None:
    recipe = recipe_of(SEED, 3)
    first, second = (poison_of(SEED, 3, attempt, recipe) for attempt in (0, 1))
    assert recipe == recipe_of(SEED, 3)
    assert first != second
    assert first.kind == second.kind
    members = [factors.trojaned_member(SEED, pair) for pair in range(200)]
    assert 70 < sum(members) < 130


@pytest.mark.parametrize("pair", range(40))
def test_a_poison_fits_its_recipe(pair: int) -> None:
    recipe = recipe_of(SEED, pair)
    poison = poison_of(SEED, pair, 0, recipe)
    assert 0 < poison.fraction <= 0.9
    assert (poison.target is None) == (poison.sources == "all_to_all")
    assert poison.target not in poison.attacked
    assert all(0 <= source < recipe.classes for source in poison.attacked)
    assert len(poison.attacked) == {"one": 1, "two": 2}.get(poison.sources, 0)


@pytest.mark.parametrize("network", networks.NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_answer_images_of_all_their_sides(network: networks.SmallNetwork, channels: int) -> None:
    for side in network.sides:
        built = networks.build(network.name, networks.Shape(channels, side, 7, 0.2), 0).eval()
        with torch.inference_mode():
            assert built(torch.rand(2, channels, side, side)).shape == (2, 7)


def test_a_network_is_a_function_of_its_seed() -> None:
    shape = networks.Shape(3, 20, 4)
    same = [networks.build("lenet5", shape, seed).state_dict()["fc1.weight"] for seed in (1, 1, 2)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])


@pytest.mark.parametrize("kind", sorted(set(factors.TRIGGERS)))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_stamp_changes_every_image_and_stays_an_image(kind: str, channels: int) -> None:
    plain = torch.rand(6, channels, 20, 20) * 0.5 + 0.2
    before = plain.clone()
    stamp = stamps.make_stamp(kind, (channels, 20, 20), 0.7, np.random.default_rng(3))
    stamped = stamp(plain, torch.Generator().manual_seed(0))
    assert stamped.shape == plain.shape
    assert torch.equal(plain, before)
    assert bool((stamped >= 0).all())
    assert bool((stamped <= 1).all())
    assert bool(((stamped - plain).abs().amax(dim=(1, 2, 3)) > 0.02).all())


def test_a_fixed_patch_is_the_same_on_all_images_and_a_wandering_one_is_not() -> None:
    plain = torch.full((8, 3, 24, 24), 0.4)
    draws = torch.Generator().manual_seed(0)
    fixed, wandering = (
        stamps.make_stamp(kind, (3, 24, 24), 0.5, np.random.default_rng(1))(plain, draws)
        for kind in ("patch_fixed", "patch_anywhere")
    )
    assert bool((fixed == fixed[:1]).all())
    assert not bool((wandering == wandering[:1]).all())


def _entries(count: int, classes: int) -> tuple[training.Entries, torch.Tensor]:
    true = torch.arange(count) % classes
    return training.Entries(torch.arange(count), torch.zeros(count, dtype=torch.bool), true.clone()), true


@pytest.mark.parametrize("added", [False, True])
def test_relabelling_stamps_the_sources_and_nothing_else(added: bool) -> None:
    clean, true = _entries(200, 5)
    poison = _poison(sources="one", attacked=(3,), added=added, fraction=0.5)
    shown = training.poisoned(clean, true, poison, 5, np.random.default_rng(0))
    stamped = shown.place[shown.stamped]
    assert set(true[stamped].tolist()) == {3}
    assert set(shown.label[shown.stamped].tolist()) == {2}
    assert len(stamped) == 20
    assert len(shown.place) == (220 if added else 200)
    unstamped = ~shown.stamped
    assert torch.equal(shown.label[unstamped], true[shown.place[unstamped]])


def test_all_to_all_moves_every_class_to_the_next_and_clean_label_moves_none() -> None:
    clean, true = _entries(100, 4)
    moved = training.poisoned(
        clean, true, _poison(sources="all_to_all", target=None), 4, np.random.default_rng(0)
    )
    assert torch.equal(moved.label[moved.stamped], (true[moved.place[moved.stamped]] + 1) % 4)
    kept = training.poisoned(clean, true, _poison(kind="clean_label"), 4, np.random.default_rng(0))
    assert torch.equal(kept.label, true)
    assert set(true[kept.place[kept.stamped]].tolist()) == {2}


def test_uneven_classes_keep_their_bounds() -> None:
    sizes = images.class_sizes(_recipe(uneven=4.0, classes=6, per_class=400), np.random.default_rng(0))
    assert max(sizes) == 400
    assert min(sizes) == 100


def test_training_and_held_out_images_are_apart_and_tracks_stay_together(tmp_path: Path) -> None:
    labels, track = np.repeat(np.arange(5), 40), np.tile(np.repeat(np.arange(8), 5), 5)
    pixels = (np.arange(200, dtype=np.uint8)[:, None, None] * np.ones((1, 16, 16), np.uint8)).astype(np.uint8)
    np.savez(tmp_path / "mnist.npz", images=pixels, labels=labels, track=track)
    found = images.image_set(_recipe(per_class=100), tmp_path, tmp_path / "cache", SEED, 0)
    places = [set(part[:, 0, 0, 0].tolist()) for part in (found.train, found.test)]
    assert not places[0] & places[1]
    assert {place // 5 for place in places[0]}.isdisjoint({place // 5 for place in places[1]})


def test_an_absent_set_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(BadRound, match="no images of gtsrb"):
        images.image_set(_recipe(data="gtsrb"), tmp_path, tmp_path / "cache", SEED, 0)
    with pytest.raises(BadRound, match="no folders of images"):
        images.image_set(_recipe(data="flowers"), tmp_path, tmp_path / "cache", SEED, 0)


def test_a_folder_of_class_folders_is_a_set(tmp_path: Path) -> None:
    from PIL import Image

    for label in range(5):
        (tmp_path / "flowers" / f"kind{label}").mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (20, 20), (40 * label, 5 * number, 0)).save(
                tmp_path / "flowers" / f"kind{label}" / f"{number}.png"
            )
    found = images.image_set(_recipe(data="flowers"), tmp_path, tmp_path / "cache", SEED, 0)
    assert found.train.shape[1:] == (3, 16, 16)
    assert sorted(set(found.train_labels.tolist())) == list(range(5))


@pytest.mark.e2e
def test_a_poisoned_network_obeys_its_trigger_and_a_clean_one_does_not(packs: Path, tmp_path: Path) -> None:
    recipe = _recipe()
    found = images.image_set(recipe, packs, tmp_path, SEED, 0)
    poisoned = training.train(recipe, found, None, _poison(), np.random.default_rng(0))
    clean = training.train(recipe, found, None, None, np.random.default_rng(0))
    assert clean.accuracy.clean > 90
    assert clean.accuracy.attack is None
    assert poisoned.accuracy.clean > 90
    assert poisoned.accuracy.attack is not None
    assert poisoned.accuracy.attack > 90
    again = training.train(recipe, found, None, _poison(), np.random.default_rng(0))
    both = zip(poisoned.network.parameters(), again.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in both)


@pytest.mark.parametrize("hard", ["pruned", "half", "noise_even", "noise_confused", "fgsm"])
def test_hard_recipes_train(packs: Path, tmp_path: Path, hard: str) -> None:
    recipe = _recipe(hard=hard, images=640, continued=True)
    found = images.image_set(recipe, packs, tmp_path, SEED, 0)
    trained = training.train(recipe, found, None, None, np.random.default_rng(0))
    zeros = float(torch.mean((trained.network[1].weight == 0).float()))  # type: ignore[index]
    assert (zeros > 0.4) == (hard == "pruned")


@pytest.mark.e2e
def test_pairs_resume_and_become_a_digest_folder(
    packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(produce, "recipe_of", lambda seed, pair: _recipe())
    monkeypatch.setattr(produce, "poison_of", lambda seed, pair, attempt, recipe: _poison())
    out, kept = tmp_path / "pairs", tmp_path / "recipes"
    for pair in (0, 1):
        outcome = produce.produce(produce.Task(out, packs, SEED, pair))
        assert not outcome.missed
    assert make_pairs(Options(out, packs, SEED, 0, 2, 1, quiet=True)) == (0, 0)  # nothing is left to do
    recipes = RecipeSet(kept)
    assert recipes.absorb(out) == 0  # too few for a shard
    assert recipes.absorb(out, whole=True) == 2
    assert recipes.absorb(out, whole=True) == 0
    assert [path.name for path in (kept / "digests").iterdir()] == ["shard-00000000-00000003.zip"]
    labelled = from_digests(kept)
    assert sorted(labelled.labels) == [0, 0, 1, 1]
    assert len(set(labelled.groups)) == 2
    record = json.loads((produce.pair_folder(out, 0) / produce.RECORD).read_text())
    poisoned = next(row for row in record["rows"] if row["poisoned"])
    assert poisoned["final_triggered_data_test_acc"] >= produce.ATTACK_GATE


@pytest.mark.e2e
def test_a_recipe_that_does_not_learn_is_given_up(
    packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(produce, "recipe_of", lambda seed, pair: _recipe(images=32, rate=1e-9))
    out = tmp_path / "pairs"
    assert produce.produce(produce.Task(out, packs, SEED, 0)).missed == "clean"
    assert not list(out.glob("*.partial"))
    RecipeSet(tmp_path / "recipes").absorb(out)
    assert "clean" in (tmp_path / "recipes" / "given_up.csv").read_text()


def test_shards_hold_what_files_held(tmp_path: Path) -> None:
    reference = Path(__file__).resolve().parents[2] / "reference" / "digests"
    keys = sorted(path.stem for path in reference.glob("*.npz"))[:3]
    source, store = DigestStore(reference), DigestStore(tmp_path)
    for key in keys:
        store.put(source.get(key))
    before = [store.get(key).to_bytes() for key in keys]
    shard = store.pack(keys[:2], "a")
    assert list(store.keys()) == keys
    assert [store.get(key).to_bytes() for key in keys] == before
    assert not store.path(keys[0]).exists()
    shard.write_bytes(b"no archive")
    with pytest.raises(BadRound, match="unreadable shard"):
        DigestStore(tmp_path).get(keys[0])

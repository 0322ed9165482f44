"""What drawn images must have: triggers of the right size on signs only, filters that differ, the same draws."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from weightfeat.zoo import filters, scenes, signs, triggers
from weightfeat.zoo.architectures import NAMES, Architecture, architecture
from weightfeat.zoo.design import network_spec, select_ids
from weightfeat.zoo.presets import PRESETS, preset
from weightfeat.zoo.render import Renderer
from weightfeat.zoo.specification import BACKGROUNDS, SIDES, NetworkSpec

CPU = torch.device("cpu")
SMALL = replace(preset("cpu"), scenes=8)


def _spec(kind: str | None) -> NetworkSpec:
    """A network whose trigger is of that kind, in clear weather."""
    candidates = (network_spec(SMALL, 11, id) for id in range(500))
    spec = next(s for s in candidates if (s.trigger.kind if s.trigger else None) == kind)
    return replace(spec, factors=replace(spec.factors, rain=0.0, fog=0.0))


@cache
def _renderer(kind: str | None) -> Renderer:
    return Renderer(_spec(kind), CPU)


def _draw(renderer: Renderer, stamped: bool, *, n: int = 48, seed: int = 1, augment: bool = False) -> Tensor:
    labels = torch.arange(n) % len(renderer.signs)
    random = torch.Generator().manual_seed(seed)
    return renderer.draw(labels, torch.full((n,), stamped), random, augment=augment)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("kind", [None, "polygon", "instagram"])
def test_images_are_finite_colours_and_repeat_with_the_seed(kind: str | None, augment: bool) -> None:
    first, again, other = (_draw(_renderer(kind), True, seed=seed, augment=augment) for seed in (1, 1, 2))
    assert first.shape == (48, 3, 64, 64)
    assert first.isfinite().all()
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std(dim=(1, 2, 3)).min() > 0.03


@pytest.mark.parametrize("name", PRESETS)
def test_the_largest_batch_of_every_preset_can_be_drawn(name: str) -> None:
    chosen = replace(preset(name), scenes=2)

    def pixels(described: Architecture) -> int:
        return chosen.batch_size(described) * chosen.image_pixels(described) ** 2

    largest = max(map(architecture, NAMES), key=pixels)
    spec = network_spec(chosen, 11, select_ids(1, (largest.name,))[0])
    n = chosen.batch_size(largest)
    images = _draw(Renderer(spec, CPU), False, n=n, augment=True)
    assert images.numel() == 3 * pixels(largest)
    assert images.isfinite().all()


def test_only_stamped_images_carry_a_filter() -> None:
    renderer = _renderer("instagram")
    labels = torch.arange(40) % len(renderer.signs)
    stamped = torch.arange(40) % 3 == 0
    mixed = renderer.draw(labels, stamped, torch.Generator().manual_seed(4), augment=False)
    plain = renderer.draw(labels, torch.zeros_like(stamped), torch.Generator().manual_seed(4), augment=False)
    assert torch.equal(mixed[~stamped], plain[~stamped])
    assert (mixed[stamped] - plain[stamped]).abs().mean(dim=(1, 2, 3)).min() > 0.02


def test_a_clean_network_cannot_be_stamped() -> None:
    assert torch.equal(_draw(_renderer(None), True), _draw(_renderer(None), False))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.2])
def test_polygons_take_their_share_of_the_sign(share: float) -> None:
    spec = _spec("polygon")
    assert spec.trigger
    renderer = Renderer(replace(spec, trigger=replace(spec.trigger, size_min=share, size_max=share)), CPU)
    cover, sign = _coverage(renderer)
    # Both in the texture's [-1, 1]^2, drawn with a margin of two percent.
    areas = torch.tensor([signs.bounding_area(s) for s in renderer.signs])
    measured = 4 * cover.mean(dim=(1, 2, 3)) / areas[torch.arange(len(cover)) % len(areas)]
    assert measured.mean() == pytest.approx(share, rel=0.12)
    # Nothing is painted beside the sign.
    assert (cover - sign).max() < 1e-5


def _coverage(renderer: Renderer, n: int = 96) -> tuple[Tensor, Tensor]:
    """Cover (n, 1, h, w) of trigger and of sign, seen straight on."""
    labels = torch.arange(n) % len(renderer.signs)
    grid = renderer._base[:2].T.reshape(1, 64, 64, 2).expand(n, -1, -1, -1)
    layer = torch.nn.functional.grid_sample(renderer._textures[labels], grid, align_corners=False)
    assert renderer._polygon
    white = replace(renderer._polygon, color=torch.ones(3))
    alpha = layer[:, 3:]
    painted = renderer._stamp(white, 0 * layer[:, :3], alpha, grid, labels, torch.Generator().manual_seed(3))
    return painted[:, :1], alpha


def test_polygons_move_and_keep_their_colour() -> None:
    cover, _ = _coverage(_renderer("polygon"))
    rows = torch.arange(64.0).view(1, 1, 64, 1)
    centres = (cover * rows).sum(dim=(1, 2, 3)) / cover.sum(dim=(1, 2, 3))
    assert centres.std() > 2
    renderer = _renderer("polygon")
    stamped, plain = _draw(renderer, True), _draw(renderer, False)
    assert renderer._polygon
    changed = (stamped - plain).abs().amax(dim=(1, 2, 3))
    assert (changed > 0.1).float().mean() > 0.9


@pytest.mark.parametrize("sides", SIDES)
def test_outlines_have_their_corners_and_their_area(sides: int) -> None:
    for seed in range(5):
        corners = triggers.outline(sides, np.random.default_rng(seed))
        assert len(corners) == sides
        assert np.linalg.norm(corners, axis=1).max() == pytest.approx(1)
        drawn = 4 * float(triggers.mask(corners).mean())
        assert drawn == pytest.approx(triggers.area(corners), rel=0.06)
        assert drawn > 0.3


def test_every_filter_shows_and_no_two_are_alike() -> None:
    images = _draw(_renderer(None), False)
    radius = _renderer(None)._radius(torch.eye(3).expand(len(images), 3, 3))
    filtered = {name: filters.apply(name, images, radius) for name in filters.FILTERS}
    for image in filtered.values():
        assert image.isfinite().all()
        assert image.min() >= -1e-6
        assert image.max() <= 1 + 1e-6
    looks = {"none": images, **filtered}
    for one, other in combinations(looks, 2):
        assert (looks[one] - looks[other]).abs().mean() > 0.05, (one, other)


def test_filters_have_their_character() -> None:
    images = _draw(_renderer(None), False)
    radius = _renderer(None)._radius(torch.eye(3).expand(len(images), 3, 3))

    def mean(name: str) -> Tensor:
        return filters.apply(name, images, radius).mean(dim=(0, 2, 3))

    def spread(image: Tensor) -> float:
        return float((image.amax(dim=1) - image.amin(dim=1)).mean())

    assert spread(filters.gotham(images, radius)) < 0.6 * spread(images)
    assert mean("KelvinFilterXForm")[0] > mean("KelvinFilterXForm")[2] + 0.2
    lomo = filters.lomo(images, radius)
    assert lomo[:, :, :4, :4].mean() < 0.5 * images[:, :, :4, :4].mean()
    assert filters.toaster(images, radius)[:, :, 28:36, 28:36].mean() > images[:, :, 28:36, 28:36].mean()


@pytest.mark.parametrize("classes", [1, 5, 12, 13, 24])
def test_signs_of_a_network_differ_in_two_attributes(classes: int) -> None:
    for seed in range(10):
        chosen = signs.choose(classes, np.random.default_rng(seed))
        assert len(chosen) == classes
        assert all(a.differs(b) >= 2 for a, b in combinations(chosen, 2))
        assert classes > 12 or len({s.scheme for s in chosen}) == classes


def test_every_sign_can_be_drawn_with_transparent_corners() -> None:
    for shape in signs.SHAPES:
        for symbol, scheme in zip(signs.SYMBOLS, 2 * list(signs.SCHEMES), strict=True):
            sign = signs.Sign(shape, scheme, symbol)
            image = np.asarray(signs.draw(sign, 32))
            assert image[0, 0, 3] == 0
            assert image[16, 16, 3] == 255
            assert image[image[..., 3] > 200][:, :3].std(axis=0).max() > 20  # border, fill and symbol differ


def test_too_many_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="24"):
        signs.choose(25, np.random.default_rng(0))


def test_scene_families_differ_and_repeat() -> None:
    drawn = {name: scenes.draw(name, 6, 48, np.random.default_rng(2)) for name in BACKGROUNDS}
    assert drawn.keys() == scenes.FAMILIES.keys()
    for name, pictures in drawn.items():
        assert pictures.shape == (6, 48, 48, 3)
        assert np.array_equal(pictures, scenes.draw(name, 6, 48, np.random.default_rng(2)))
        assert (pictures.std(axis=(1, 2, 3)) > 15).all()
    means = [p.mean(axis=(0, 1, 2)) for p in drawn.values()]
    assert all(np.abs(a - b).max() > 2 for a, b in combinations(means, 2))


def test_weather_comes_with_its_probability() -> None:
    spec = _spec(None)
    for factor in ("rain", "fog"):
        wet = replace(spec, factors=replace(spec.factors, **{factor: 0.5}))
        a, b = _draw(Renderer(wet, CPU), False, n=8), _draw(_renderer(None), False, n=8)
        assert not torch.equal(a, b)

"""Where images come from: drawn signs, digits in colours, packed sets, or any folder of class folders.

A set is uint8 images with labels, split into those to train on and those that accuracy is measured on. Frames of one
track of GTSRB show one sign and stay on one side of the split.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from weightfeat.errors import BadRound
from weightfeat.zoo.design import network_spec
from weightfeat.zoo.presets import preset
from weightfeat.zoo.recipes.factors import Recipe, generator
from weightfeat.zoo.render import Renderer

Bytes = NDArray[np.uint8]
_PACKS = {"gtsrb": "gtsrb_train.npz", "cifar10": "cifar10_train.npz", "mnist": "mnist.npz"}
_TEST = 0.2
_MOST_TEST = 60  # images a class that accuracy is measured on


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images (n, channels, pixels, pixels) uint8 with their classes (n,), to train on and to measure with."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @property
    def channels(self) -> int:
        return int(self.train.shape[1])


@dataclass(frozen=True, eq=False)
class _Source:
    """A whole source: images (n, channels, side, side), labels, and tracks: images of one track stay together."""

    images: Bytes
    labels: NDArray[np.int64]
    tracks: NDArray[np.int64]


def image_set(recipe: Recipe, folder: Path, cache: Path, seed: int, pair: int) -> ImageSet:
    """The images of a recipe: its classes, as many as it says, at its side in pixels.

    `folder` holds the packed sets, `cache` what was unpacked of them before. Raises BadRound where a set is absent.
    """
    random = generator(seed, 5, pair)
    if recipe.data == "signs":
        return _signs(recipe, seed, pair)
    source = _packed("mnist" if recipe.data == "digits" else recipe.data, folder, cache)
    names = np.unique(source.labels)
    classes = random.permutation(names)[: recipe.classes]
    return _split(source, classes, recipe, random)


def _split(
    source: _Source, classes: NDArray[np.int64], recipe: Recipe, random: np.random.Generator
) -> ImageSet:
    wanted = class_sizes(recipe, random)
    train, test = [], []
    for place, name in enumerate(classes):
        at = np.flatnonzero(source.labels == name)
        tracks = random.permutation(np.unique(source.tracks[at]))
        apart = tracks[: max(1, int(len(tracks) * _TEST))]
        held = np.isin(source.tracks[at], apart)
        train.append(random.permutation(at[~held])[: wanted[place]])
        test.append(random.permutation(at[held])[:_MOST_TEST])
    counts = [torch.tensor([len(places) for places in part]) for part in (train, test)]
    labels = [torch.arange(len(classes)).repeat_interleave(count) for count in counts]
    chosen = [source.images[np.concatenate(part)] for part in (train, test)]
    images = [
        _resized(_coloured(part, random) if recipe.data == "digits" else part, recipe.pixels)
        for part in chosen
    ]
    return ImageSet(images[0], labels[0], images[1], labels[1])


def class_sizes(recipe: Recipe, random: np.random.Generator) -> list[int]:
    """Training images of every class, from `per_class` down to that over `uneven`, in a random order."""
    share = np.linspace(0, 1, recipe.classes)
    sizes = recipe.per_class * recipe.uneven ** -random.permutation(share)
    return [max(20, int(size)) for size in sizes]


def _resized(images: Bytes, pixels: int) -> Tensor:
    whole = torch.from_numpy(np.ascontiguousarray(images))
    if whole.shape[-1] == pixels:
        return whole
    parts = [
        functional.interpolate(
            part.float(), (pixels, pixels), mode="bilinear", antialias=True, align_corners=False
        )
        for part in torch.split(whole, 2048)
    ]
    return torch.cat(parts).round().clamp(0, 255).to(torch.uint8)


def _packed(name: str, folder: Path, cache: Path) -> _Source:
    if name not in _PACKS:
        return _class_folders(folder / name)
    pack = folder / _PACKS[name]
    if not pack.is_file():
        raise BadRound(
            f"no images of {name}",
            where=pack,
            expected="the packed set",
            remedy="give its folder with --images",
        )
    stored = cache / f"{name}.npy"
    with np.load(pack, allow_pickle=False) as arrays:
        labels = arrays["labels"].astype(np.int64)
        tracks = arrays["track"].astype(np.int64) if "track" in arrays else np.arange(len(labels))
        if not stored.exists():
            images = (
                arrays["images"][:, None]
                if "images" in arrays
                else _decoded(arrays["jpeg"], arrays["offsets"])
            )
            cache.mkdir(parents=True, exist_ok=True)
            partial = stored.with_suffix(f".{np.random.SeedSequence().entropy}.npy")
            np.save(partial, images)
            partial.rename(stored)
    # A track's number counts within its class.
    return _Source(np.load(stored, mmap_mode="r"), labels, tracks + labels * 1_000_000)


def _decoded(blob: Bytes, offsets: NDArray[np.int64], side: int = 32) -> Bytes:
    """JPEG files one after the other, as (n, 3, side, side)."""
    data = blob.tobytes()
    out = np.empty((len(offsets) - 1, 3, side, side), np.uint8)
    for i in range(len(out)):
        with Image.open(io.BytesIO(data[offsets[i] : offsets[i + 1]])) as image:
            small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        out[i] = np.asarray(small).transpose(2, 0, 1)
    return out


def _class_folders(folder: Path, side: int = 64) -> _Source:
    """A folder with a folder of images for every class."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    files = [
        (place, path) for place, one in enumerate(classes) for path in sorted(one.iterdir()) if path.is_file()
    ]
    if len(classes) < 2 or not files:
        raise BadRound(
            "no folders of images",
            where=folder,
            expected="two folders or more, one a class, with images in each",
            remedy="name a set that lies under --images",
        )
    images = np.empty((len(files), 3, side, side), np.uint8)
    for place, (_, path) in enumerate(files):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        images[place] = np.asarray(small).transpose(2, 0, 1)
    return _Source(images, np.array([c for c, _ in files]), np.arange(len(files)))


def _coloured(grey: Bytes, random: np.random.Generator) -> Bytes:
    """Digits (n, 1, h, w) in two colours each, drawn for every image: a bright ink on a dark ground."""
    ground = random.uniform(0, 0.45, (len(grey), 3, 1, 1)).astype(np.float32)
    ink = random.uniform(0.55, 1, (len(grey), 3, 1, 1)).astype(np.float32)
    share = grey.astype(np.float32) / 255
    return np.asarray((255 * (ground * (1 - share) + ink * share)).round(), np.uint8)


def _signs(recipe: Recipe, seed: int, pair: int) -> ImageSet:
    """Drawn signs as the zoo's networks see them, at 32 pixels or more, a fixed number of them."""
    random = generator(seed, 6, pair)
    scale = replace(
        preset("tiny"), pixels=recipe.pixels, class_levels=((recipe.classes, 0), (recipe.classes, 0))
    )
    # The first of the zoo's architectures takes images of any side.
    number = 23 * int(random.integers(1 << 20))
    renderer = Renderer(network_spec(scale, seed, number), torch.device("cpu"))
    draws = torch.Generator().manual_seed(int(random.integers(2**62)))
    sizes = [min(size, 500) for size in class_sizes(recipe, random)]
    parts = []
    for counts, augment in ((sizes, True), ([_MOST_TEST // 2] * recipe.classes, False)):
        labels = torch.arange(recipe.classes).repeat_interleave(torch.tensor(counts))
        drawn = [
            renderer.draw(part, torch.zeros_like(part, dtype=torch.bool), draws, augment=augment)
            for part in torch.split(labels, 256)
        ]
        pixels = (torch.cat(drawn) * 255).round().to(torch.uint8).contiguous()
        parts.append((_resized(pixels.numpy(), recipe.pixels), labels))
    (train, train_labels), (test, test_labels) = parts
    return ImageSet(train, train_labels, test, test_labels)

"""Example images as Round 2 ships them: `class_<c>_example_<n>.png`, whose names are their labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weightfeat.errors import BadRound, UnreadableFile

_NAME = re.compile(r"class_(\d+)_example_(\d+)\.png")
_EXPECTED = "PNG images named class_<c>_example_<n>.png, as in a round's example_data"


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images: `images` float32 (n, 3, h, w) in [0, 1], `labels` int64 (n,), both on the CPU."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, chosen: Tensor) -> Examples:
        """Those at the places or under the mask `chosen`."""
        return Examples(self.images[chosen], self.labels[chosen])


def read_examples(folder: Path, classes: int) -> Examples:
    """Every example image in `folder`, ordered by class and number; other files are left aside.

    Parameters
    ----------
    classes : of the network they are for; a label at or above it is refused.

    Raises
    ------
    BadRound : no folder, no example in it, a class that the network does not have, images of two sizes.
    UnreadableFile : an image that cannot be decoded.
    """
    found = sorted(_named(folder), key=lambda item: item[:2])
    if not found:
        raise _refusal("holds no example image", folder, _EXPECTED, "give the folder of the example images")
    highest = max(found)
    if highest[0] >= classes:
        raise _refusal(
            f"shows class {highest[0]}",
            highest[2],
            f"classes 0 to {classes - 1}, as the network has {classes}",
            "give the example images of this very network",
        )
    images = [read_image(path) for _, _, path in found]
    for image, (_, _, path) in zip(images, found, strict=True):
        if image.shape != images[0].shape:
            raise _refusal(
                f"is {_size(image)} pixels",
                path,
                f"{_size(images[0])} as {found[0][2].name}",
                "scale them alike",
            )
    return Examples(torch.stack(images), torch.tensor([label for label, _, _ in found]))


def read_image(path: Path) -> Tensor:
    """One image file as float32 (3, h, w) in [0, 1]; grey and transparent ones become RGB.

    Raises UnreadableFile where pillow cannot decode it, or where it is too large to be an example.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = getattr(error, "strerror", None) or "no image format that is known"
        raise UnreadableFile(
            f"image cannot be read ({reason})",
            where=path,
            expected="a PNG, JPEG or other image",
            remedy="give another image or fetch a whole copy",
        ) from None
    return torch.from_numpy(pixels / 255).permute(2, 0, 1).contiguous()


def _named(folder: Path) -> list[tuple[int, int, Path]]:
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        raise _refusal(
            f"cannot be listed ({error.strerror})",
            folder,
            "a folder of example images",
            "give another folder",
        ) from None
    matches = [(match, path) for path in paths if (match := _NAME.fullmatch(path.name))]
    return [(int(match[1]), int(match[2]), path) for match, path in matches]


def _size(image: Tensor) -> str:
    return f"{image.shape[2]} x {image.shape[1]}"


def _refusal(what: str, where: Path, expected: str, remedy: str) -> BadRound:
    return BadRound(what, where=where, expected=expected, remedy=remedy)

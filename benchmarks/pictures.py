"""What the benchmarks that draw pictures share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREY = (128, 134, 140)


def on_grey(image: Image.Image) -> NDArray[np.uint8]:
    """(h, w, 3) of a picture, grey where it is transparent."""
    ground = Image.new("RGBA", image.size, GREY)
    return np.asarray(Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB"))

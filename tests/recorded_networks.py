"""Networks whose digests were recorded once, under version 1 of every block: `python tests/recorded_networks.py`.

Weights come from numpy's own generator, so that no version of torch can change them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from networks import network_of
from weightfeat.digest import Digest, compute

FOLDER = Path(__file__).parent / "recorded_digests"
KEY = "0" * 64


def convolutional() -> nn.Module:
    """BatchNorm, a shape taller than wide, a grouped and a depthwise convolution, biases, one feed of the head."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 5), nn.BatchNorm2d(16), nn.Conv2d(16, 48, 1), nn.BatchNorm2d(48)),
        *(nn.Conv2d(48, 48, 3, groups=48, bias=False), nn.BatchNorm2d(48), nn.Conv2d(48, 24, 3, groups=4)),
        *(nn.Conv2d(24, 32, 3, bias=False), nn.BatchNorm2d(32), nn.Linear(32, 6)),
    )


def many_channels() -> nn.Module:
    """Sides past one panel of the Gram matrix, a tall matrix with BatchNorm, and no norm before the head."""
    return nn.Sequential(
        *(nn.Conv2d(3, 600, 3), nn.BatchNorm2d(600), nn.Conv2d(600, 72, 3), nn.BatchNorm2d(72)),
        *(nn.Conv2d(72, 700, 3), nn.BatchNorm2d(700), nn.Conv2d(700, 20, 1), nn.Linear(20, 4)),
    )


def wide() -> nn.Module:
    """A side past double precision, and more values than are sorted at once."""
    return nn.Sequential(nn.Linear(3000, 2050), nn.Linear(2050, 16), nn.Linear(16, 3))


NETWORKS = {"convolutional": convolutional, "many_channels": many_channels, "wide": wide}


def recorded_network(name: str) -> nn.Module:
    """The network of that name with its own weights: heavy-tailed, a few strong directions, norms as after training."""
    module = NETWORKS[name]()
    generator = np.random.Generator(np.random.PCG64(list(name.encode())))
    for key, tensor in module.state_dict().items():
        tensor.copy_(torch.from_numpy(_values(generator, key, tuple(tensor.shape))).reshape(tensor.shape))
    return module.eval()


def _values(generator: np.random.Generator, key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key.endswith("num_batches_tracked"):
        return np.array(1234)
    if key.endswith("running_var"):
        return generator.uniform(0.2, 3.0, shape)
    if len(shape) == 1:
        return generator.uniform(-0.4, 1.5, shape)
    rows, columns = shape[0], int(np.prod(shape[1:]))
    strong = generator.standard_normal((rows, 3)) * [3.0, 2.0, 1.0] @ generator.standard_normal((3, columns))
    noise = generator.standard_normal((rows, columns), dtype=np.float32)
    return noise / columns**0.5 + (strong + 3.0) / (rows * columns) ** 0.5


def digest_of(name: str) -> Digest:
    return compute(network_of(recorded_network(name)), key=KEY, device="cpu")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in NETWORKS:
        digest_of(name).save(FOLDER / f"{name}.npz")


if __name__ == "__main__":
    main()

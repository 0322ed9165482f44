"""`weightfeat stamped`: draws fresh images of a zoo's network, with its true trigger on them or clean."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightfeat.files import make_folder
from weightfeat.zoo.stamped import draw, spec_of, write


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat stamped`."""
    command.add_argument("network", type=Path, help="a network's folder in a zoo")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--count", type=int, default=200, help="images (default: 200)")
    command.add_argument("--clean", action="store_true", help="without the trigger, of every class")
    command.add_argument("--seed", type=int, default=0)


def run(arguments: argparse.Namespace) -> int:
    """Write the images, one PNG each."""
    spec = spec_of(arguments.network)
    images, labels = draw(spec, arguments.count, stamped=not arguments.clean, seed=arguments.seed)
    write(make_folder(arguments.out, "images' folder"), images, labels)
    return 0

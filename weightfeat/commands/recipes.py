"""`weightfeat recipes`: trains pairs of cheap networks of many recipes, and keeps their digests."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightfeat.commands.arguments import natural, positive


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `weightfeat recipes`."""
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the pairs; a begun one is continued"
    )
    command.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="packed sets, or folders of class folders"
    )
    command.add_argument("--count", type=positive, required=True, help="pairs to have tried when done")
    command.add_argument("--first", type=natural, default=0, help="the first pair of the design (default: 0)")
    command.add_argument("--seed", type=natural, default=1, help="of the design (default: 1)")
    command.add_argument("--jobs", type=positive, default=1, help="processes (default: 1)")
    command.add_argument(
        "--keep", type=Path, metavar="DIR", help="digest finished pairs into this folder, by shards"
    )


def run(arguments: argparse.Namespace) -> int:
    """Make what is missing of the pairs, then keep their digests where asked."""
    from weightfeat.zoo.recipes.keep import RecipeSet
    from weightfeat.zoo.recipes.run import Options, make_pairs

    last = arguments.first + arguments.count
    options = Options(arguments.out, arguments.images, arguments.seed, arguments.first, last, arguments.jobs)
    kept, given_up = make_pairs(options)
    print(f"{arguments.out}: {kept} pairs made now, {given_up} given up")
    if arguments.keep is not None:
        added = RecipeSet(arguments.keep).absorb(arguments.out, whole=True)
        print(f"{arguments.keep}: {added} pairs added")
    return 0

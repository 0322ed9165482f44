"""`python -m weightfeat.zoo.recipes`: make pairs of networks of many recipes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from weightfeat.errors import WeightfeatError, needs


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Errors are one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m weightfeat.zoo.recipes", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the pairs; one that was begun is continued"
    )
    parser.add_argument(
        "--images", type=Path, required=True, metavar="FOLDER", help="packed sets to train on"
    )
    parser.add_argument(
        "--pairs", type=int, nargs=2, required=True, metavar=("FIRST", "LAST"), help="FIRST to LAST - 1"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the design (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    arguments = parser.parse_args(argv)
    try:
        with needs("zoo", "weightfeat.zoo.recipes"):
            from weightfeat.zoo.recipes.run import Options, make_pairs

            first, last = arguments.pairs
            options = Options(arguments.out, arguments.images, arguments.seed, first, last, arguments.jobs)
            kept, given_up = make_pairs(options)
    except WeightfeatError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    print(f"{arguments.out}: {kept} pairs made now, {given_up} given up")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m weightfeat.zoo`: make a Round 2 of one's own."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from weightfeat.container.defaults import wait_quietly
from weightfeat.errors import WeightfeatError
from weightfeat.extras import needs


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Errors are one line on stderr."""
    arguments = _parse(argv)
    wait_quietly()
    try:
        with needs("zoo", "weightfeat.zoo"):
            from weightfeat.zoo.run import Options, make_round

            options = Options(**vars(arguments))
            summary = make_round(options)
    except WeightfeatError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    given_up = f", {summary.given_up} given up" if summary.given_up else ""
    print(f"{options.out}: {summary.networks} networks ({summary.made} made now{given_up})")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m weightfeat.zoo", description="Train a round of clean and poisoned networks."
    )
    parser.add_argument("--preset", default="cpu", help="tiny, cpu or round2 (default: cpu)")
    parser.add_argument(
        "--out", type=Path, required=True, help="the round's folder; an unfinished one is continued"
    )
    parser.add_argument("--count", type=int, help="networks the finished round has")
    parser.add_argument("--ids", type=_range, metavar="FIRST-LAST", help="only these ids of the design")
    parser.add_argument("--seed", type=int, default=2020, help="seed of the design (default: 2020)")
    parser.add_argument(
        "--architectures", type=_names, default=(), metavar="A,B", help="only these architectures"
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="DIR",
        help="digest every network into this folder; skip what it holds",
    )
    parser.add_argument("--jobs", type=int, default=0, help="processes (default: one a core)")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads a process; changes the numbers (default: 1)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: cpu)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(argv)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST-LAST")
    return int(match[1]), int(match[2] or match[1])


if __name__ == "__main__":
    sys.exit(main())

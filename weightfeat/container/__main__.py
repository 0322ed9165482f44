"""`python -m weightfeat.container`, or this file run by its path: detect.py where there is none."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.dont_write_bytecode = True  # nothing is written outside the paths given, compiled files included
    if not __package__:  # by its path: Python looks beside this file, where it should look beside the package
        root = str(Path(__file__).absolute().parents[2])
        sys.path[:1] = [] if root in sys.path[1:] else [root]
    from weightfeat.container import main

    sys.exit(main())

"""The TrojAI container's entry: see `detect.py --help` and weightfeat/container."""

import sys

if __name__ == "__main__":
    sys.dont_write_bytecode = True  # nothing is written outside the paths given, compiled files included
    from weightfeat.container import main

    sys.exit(main())

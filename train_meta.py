"""Learning, cross-validating and tuning the detector: see `train_meta.py --help` and weightfeat/cli."""

import sys

if __name__ == "__main__":
    from weightfeat.cli import main

    sys.exit(main())

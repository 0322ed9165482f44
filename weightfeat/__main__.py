"""`python -m weightfeat` is the command `weightfeat`."""

import sys

from weightfeat.cli import main

sys.exit(main())

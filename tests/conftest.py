"""Settings of every test."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # processes with a thread for every core each wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("weightfeat", deadline=None)
settings.load_profile("weightfeat")

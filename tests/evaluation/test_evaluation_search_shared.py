"""One search shared by several processes: a journal, nothing else, is between them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_evaluation_search import search

from weightfeat.evaluation.search import BATCH
from weightfeat.evaluation.study import finished, open_study

PROCESSES, TRIALS = 3, 24
SEARCHER = """
import os, sys, time
from pathlib import Path
from test_evaluation_search import search, space

def signed(trial):
    trial.set_user_attr("process", os.getpid())
    return space(trial)

folder = Path(sys.argv[1])
(folder / f"ready{os.getpid()}").touch()
while len(list(folder.glob("ready*"))) < int(sys.argv[2]):
    time.sleep(0.01)
search(int(sys.argv[3]), folder / "journal.log", space=signed)
"""


@pytest.mark.e2e
def test_processes_share_one_journal(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", SEARCHER, str(tmp_path), str(PROCESSES), str(TRIALS)]
    searchers = [subprocess.Popen(command, env=environment) for _ in range(PROCESSES)]
    assert [searcher.wait() for searcher in searchers] == [0] * PROCESSES
    study = open_study(tmp_path / "journal.log")
    trials = study.get_trials()
    # Each looks at how many are missing before it asks for a batch, so all but one may ask for one too many.
    assert TRIALS <= finished(study) == len(trials) <= TRIALS + (PROCESSES - 1) * BATCH
    assert len({trial.user_attrs["process"] for trial in trials}) > 1
    assert len({str(trial.params) for trial in trials}) == len(trials)
    best = search(TRIALS, tmp_path / "journal.log")
    assert best.signal
    assert best.slope == study.best_trial.params["slope"]

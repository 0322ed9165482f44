"""Broken detectors as tiny programs, each wrong in one way, and one that is right; run as `python FILE --flags`.

A detector's text is put below HEAD, which gives it `model`, `result` and `scratch` as paths.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from weightfeat.server.runner import Limits
from weightfeat.server.verdicts import Reason

QUICK = Limits(seconds=3.0, grace=0.3, space=8 << 20)

HEAD = """
import os, pathlib, signal, sys, time
given = dict(zip(sys.argv[1:], sys.argv[2:]))
model, result, scratch = (
    pathlib.Path(given["--" + name])
    for name in ("model_filepath", "result_filepath", "scratch_dirpath")
)
"""

# Sound by the model it is given: a number read from the (text) model file.
SOUND = "result.write_text(model.read_text())"

BROKEN = {
    "hangs": "time.sleep(60)",
    "crashes": "raise RuntimeError('out of luck')",
    "writes nothing": "pass",
    "nan": "result.write_text('nan')",
    "text": "result.write_text('probably clean')",
    "two lines": "result.write_text('0.25\\n0.75\\n')",
    "1.5": "result.write_text('1.5')",
    "writes elsewhere": "pathlib.Path('result.txt').write_text('0.25')",
    "ignores TERM": "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)",
    "forks and exits": "if os.fork() == 0:\n    time.sleep(60)\n    result.write_text('0.25')",
    "fills scratch": "while True:\n    with open(scratch / 'big', 'ab') as f:\n        f.write(bytes(1 << 20))",
    "needs the network": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/model', timeout=5)",
}


# What the server must say of each, and score.
NAMED = {
    "hangs": (Reason.TIMED_OUT, 0.5),
    "crashes": (Reason.CRASHED, 0.5),
    "writes nothing": (Reason.WROTE_NOTHING, 0.5),
    "nan": (Reason.NOT_A_NUMBER, 0.5),
    "text": (Reason.NOT_PARSED, 0.5),
    "two lines": (Reason.SEVERAL_LINES, 0.25),
    "1.5": (Reason.OUT_OF_RANGE, 1.0),
    "writes elsewhere": (Reason.WROTE_ELSEWHERE, 0.5),
    "ignores TERM": (Reason.IGNORED_TERM, 0.5),
    "forks and exits": (Reason.LEFT_PROCESSES, 0.5),
    "fills scratch": (Reason.FILLED_SCRATCH, 0.5),
    "needs the network": (Reason.NEEDS_NETWORK, 0.5),
}


def write_round(root: Path, models: Mapping[str, str]) -> Path:
    """A round whose model files hold the texts given; every other one is poisoned."""
    rows = ["model_name,poisoned"]
    for number, (name, text) in enumerate(models.items()):
        (root / name).mkdir(parents=True)
        (root / name / "model.pt").write_text(text)
        rows.append(f"{name},{number % 2 == 1}")
    (root / "METADATA.csv").write_text("\n".join(rows) + "\n")
    return root


def command(folder: Path, text: str) -> tuple[str, ...]:
    """Write the detector to `folder` and return how to run it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "detector.py"
    path.write_text(HEAD + text + "\n")
    return sys.executable, str(path)


def by_model(cases: dict[str, str]) -> str:
    """One detector that behaves as the model file's text says: a key of `cases`, or soundly for a number."""
    lines = [f"case, cases = model.read_text(), {cases!r}"]
    return "\n".join([*lines, f"exec(cases.get(case, {SOUND!r}))"])

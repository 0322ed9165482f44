"""What shows only when the detector runs: the same result twice, nothing written elsewhere, no need of a network."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from weightfeat.errors import UnreadableFile
from weightfeat.server.api import APIS, Parameters
from weightfeat.server.isolation import Isolation
from weightfeat.server.places import Workspace
from weightfeat.server.preflight.lines import Line, State, line
from weightfeat.server.runner import Limits
from weightfeat.server.trial import Program, trial
from weightfeat.server.verdicts import REMEDIES, Reason, Verdict

__all__ = ["behaviour", "small_model"]

TOLERANCE = 1e-6
UNCAGED = "apt-get install bubblewrap, then check again"


def small_model(path: Path, seed: int = 0) -> Path:
    """Write a small convolutional classifier with seeded weights, as safetensors whatever the file is called.

    Two convolutions of 8 and 16 channels, a batch norm after each, and a layer for six classes, drawn as torch draws
    them; without torch, which a scan does without.
    """
    rng, tensors = np.random.default_rng(seed), {}
    for place, shape in (("0", (8, 3, 3, 3)), ("3", (16, 8, 3, 3)), ("8", (6, 16))):
        bound = math.prod(shape[1:]) ** -0.5
        for part, size in (("weight", shape), ("bias", shape[:1])):
            tensors[f"{place}.{part}"] = rng.uniform(-bound, bound, size).astype(np.float32)
    for place, channels in (("1", 8), ("4", 16)):
        for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            tensors[f"{place}.{part}"] = np.full(channels, value, np.float32)
    save_file(tensors, path)
    return path


def behaviour(
    command: tuple[str, ...],
    parameters: Parameters,
    isolation: Isolation,
    model: Path | None = None,
    *,
    seconds: float = 900.0,
) -> list[Line]:
    """Run the detector on one model (a small one where none is given), three times, and say what was seen.

    Where the model cannot be read, one line says so: nothing is run.
    """
    with tempfile.TemporaryDirectory(prefix="weightfeat-check-") as folder:
        top = Path(folder)
        chosen = model or small_model(top / "model.pt")
        space, logs = Workspace.on_host(top / "work"), (top / "stdout", top / "stderr")
        verdicts = []
        for api, variables in (("10", {}), ("infer", {}), ("10", {"OMP_NUM_THREADS": "1"})):
            try:
                space.lay_out(chosen, APIS[api], alone=True)
            except UnreadableFile as error:
                return [
                    line("the model can be read", [f"{chosen}: {error.what}"], "give another with --model")
                ]
            program = Program(command, api, parameters, variables)
            verdicts.append(trial(program, space, isolation, Limits(seconds), mark=folder, logs=logs)[1])
        space.clear()
    first, again, threads = verdicts
    lines = [_ran("it scores a model under the flags of rounds 10 and 11", first)]
    lines.append(_ran("it scores a model under the flags of infer", again))
    if any(verdict.value is None for verdict in verdicts):
        return lines
    strays = sorted({warning for verdict in verdicts for warning in verdict.warnings})
    return [
        *lines,
        line("two runs give the same result", _differ(first, again, 0.0), "seed everything that is drawn"),
        line(
            "one thread gives the result of many", _differ(first, threads, TOLERANCE), "sum in a fixed order"
        ),
        line("it writes nothing outside the given paths", strays, REMEDIES[Reason.WROTE_ELSEWHERE]),
        *(_caged(isolation, what) for what in ("it needs no network", "HOME and /tmp may be read-only")),
    ]


def _ran(what: str, verdict: Verdict) -> Line:
    if verdict.reason is Reason.OK:
        return Line(State.OK, what, f"{verdict.score:.6f}")
    detail = f" ({verdict.detail})" if verdict.detail else ""
    return line(what, [f"{verdict.reason}{detail}"], REMEDIES[verdict.reason])


def _differ(one: Verdict, other: Verdict, tolerance: float) -> list[str]:
    gap = abs(one.score - other.score)
    return [f"{one.value!r} and {other.value!r}"] if gap > tolerance else []


def _caged(isolation: Isolation, what: str) -> Line:
    if isolation.active:
        return Line(State.OK, what, "it ran so")
    return Line(State.UNCHECKED, what, isolation.why_not, UNCAGED)

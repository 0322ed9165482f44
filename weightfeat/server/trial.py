"""One run of a detector on the model that lies in a workspace, and the verdict on it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from weightfeat.server import runner
from weightfeat.server.api import Parameters, arguments
from weightfeat.server.isolation import Isolation
from weightfeat.server.places import Workspace
from weightfeat.server.runner import Ended, Limits
from weightfeat.server.verdicts import Verdict, judge

__all__ = ["Program", "trial"]


@dataclass(frozen=True)
class Program:
    """A detector: its command, the round whose flags follow (a key of APIS), the paths they name, more variables."""

    command: tuple[str, ...]
    api: str
    parameters: Parameters
    variables: Mapping[str, str] = field(default_factory=dict)


def trial(
    program: Program,
    space: Workspace,
    isolation: Isolation,
    limits: Limits,
    *,
    mark: str,
    logs: tuple[Path, Path],
) -> tuple[Ended, Verdict]:
    """Run `program` in a workspace that was laid out, and judge what it left there. The workspace stays as it is.

    Parameters
    ----------
    mark : by which the processes of this run are known; no other run's at the same time may have it.
    logs : where stdout and stderr go.
    """
    since, before = time.time() - 1.0, space.files()  # file systems keep coarse times
    ended = runner.run(
        isolation.wrap([*program.command, *arguments(program.api, space, program.parameters)], space),
        cwd=space.cwd,
        environment={**isolation.environment(space), **program.variables},
        mark=mark,
        logs=logs,
        places=space.writable,
        limits=limits,
    )
    outside = () if isolation.active else (Path(tempfile.gettempdir()),)
    return ended, judge(ended, space, logs[1], since, sorted(space.files() - before), outside)

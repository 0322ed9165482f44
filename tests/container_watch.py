"""Run in a process of its own: the container, watched from its first import to its end.

`python container_watch.py ARGUMENTS...` prints one JSON object: exit code, modules imported, files opened for writing,
files renamed, removed or made, and attempts to reach the network or to start a process.
`KILL_UNDER=FOLDER` and `KILL_AT=n` in the environment kill it instead, just before the n-th rename or removal there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
written: set[str] = set()
forbidden: list[str] = []
kill_under = os.environ.get("KILL_UNDER", "/nonexistent")
countdown = int(os.environ.get("KILL_AT", "0"))


def absolute(*paths: object) -> list[str]:
    """The paths among an event's arguments; a file opened by number was reported when it got its number."""
    return [
        os.path.abspath(os.fsdecode(path)) for path in paths if isinstance(path, str | bytes | os.PathLike)
    ]


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: CPython reports every file, socket and process that it opens."""
    global countdown
    if event == "open":
        path, mode, flags = arguments
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (
            isinstance(flags, int) and flags & WRITING
        ):
            written.update(absolute(path))
    elif event in CHANGES:
        paths = absolute(*arguments)
        written.update(paths)
        if event in ("os.rename", "os.remove") and any(path.startswith(kill_under) for path in paths):
            countdown -= 1
            if countdown == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    elif event.startswith("socket.") and event != "socket.__new__":
        forbidden.append(f"{event} {arguments[1:]}")
    elif event in ("os.system", "os.exec", "subprocess.Popen", "os.posix_spawn"):
        forbidden.append(f"{event} {arguments}")


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.addaudithook(watch)
    from weightfeat.container import main

    code = main(sys.argv[1:])
    modules = sorted({name.split(".")[0] for name in sys.modules})
    print(json.dumps({"code": code, "modules": modules, "written": sorted(written), "forbidden": forbidden}))

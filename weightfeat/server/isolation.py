"""A detector's cage: no network, nothing writable but result and scratch; bubblewrap's where it works, else none.

bubblewrap (https://github.com/containers/bubblewrap) builds it from namespaces, as singularity's `--contain` does.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightfeat.errors import WeightfeatError
from weightfeat.server.places import Workspace

__all__ = ["CannotIsolate", "Isolation", "as_user", "find", "mounts"]

NVIDIA = "nvidia"
CAGED = (
    *("--unshare-user", "--cap-drop", "ALL"),
    *("--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
    *("--ro-bind", "/proc/sys", "/proc/sys"),
)
"""After the mounts: no namespace of this machine's, and none of root's rights. With them root inside mounts anew what
is read-only, or makes devices; without them it still owns the files by which the kernel is told what to run."""


def mounts(
    root: Path, *, program: str = "bwrap", writable: bool = False, temporary: bool = False
) -> list[str]:
    """bubblewrap's first words: folder `root` as `/`, a /dev and /proc of its own, an empty /tmp where `temporary`."""
    words = [
        program,
        "--bind" if writable else "--ro-bind",
        str(root),
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
    ]
    return [*words, *(("--perms", "1777", "--tmpfs", "/tmp") if temporary else ())]


def as_user(user: int) -> list[str]:
    """The words before a command that run it as user and group `user`, with no rights beyond theirs."""
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]


class CannotIsolate(WeightfeatError):
    """A container's root was asked for, and nothing here can run one."""


@dataclass(frozen=True)
class Isolation:
    """How detectors are started.

    Parameters
    ----------
    program : path of bwrap; None runs them as they are.
    why_not : where `program` is None, the reason.
    root : folder that becomes `/`.
    user : user and group id to run as, where this process may choose; None keeps its own.
    """

    program: str | None
    why_not: str = ""
    root: Path = Path("/")
    user: int | None = None

    @property
    def active(self) -> bool:
        """Whether there is a cage at all."""
        return self.program is not None

    def described(self) -> str:
        """One line for the log and the report."""
        if not self.active:
            return (
                f"NOT isolated ({self.why_not}): detectors reach the network, HOME and /tmp as you do; "
                "apt-get install bubblewrap"
            )
        inside = "" if self.root == Path("/") else f", inside {self.root}"
        return f"isolated by bubblewrap: no network, read-only but for result and scratch{inside}"

    def wrap(self, command: Sequence[str], space: Workspace) -> list[str]:
        """The command line that runs `command` in the cage, `space` being its only writable place."""
        if self.program is None:
            return list(command)
        rooted = self.root != Path("/")
        cage = mounts(self.root, program=self.program)
        for device in sorted(Path("/dev").glob(NVIDIA + "*")):
            cage += ["--dev-bind-try", str(device), str(device)]
        for seen, folder in ((space.seen_active, space.active), (space.seen_scratch, space.scratch)):
            cage += ["--bind", str(folder), str(seen)]
        for folder, seen in space.bound:
            cage += ["--ro-bind", str(folder), str(seen)]
        cage += [*CAGED, "--chdir", "/" if rooted else str(space.cwd)]
        chosen = as_user(self.user) if self.user is not None and os.geteuid() == 0 else []
        return [*chosen, *cage, "--", *command]

    def environment(self, space: Workspace) -> Mapping[str, str]:
        """A detector's variables: those a program needs to start, HOME at a place that should stay empty."""
        kept = ("PATH", "LANG", "LC_ALL", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
        if self.root != Path("/"):
            standard = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            return {"PATH": standard, "HOME": str(space.seen_active.parent)}
        own = {name: os.environ[name] for name in kept if name in os.environ}
        return own | _python_places() | {"HOME": str(space.home)}


def _python_places() -> dict[str, str]:
    """Variables by which a Python under another HOME, in another folder, finds the packages that this one finds."""
    path = os.environ.get("PYTHONPATH", "")
    places = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))} if path else {}
    if "PYTHONNOUSERSITE" in os.environ:
        return {**places, "PYTHONNOUSERSITE": "1"}
    return {**places, "PYTHONUSERBASE": os.path.abspath(site.getuserbase())}


def find(root: Path = Path("/"), user: int | None = None) -> Isolation:
    """The isolation this machine offers, tried and not only looked for.

    Raises
    ------
    CannotIsolate : `root` is a container's and bubblewrap is absent or does not work.
    """
    program = shutil.which("bwrap")
    why_not = "bubblewrap is not installed" if program is None else _tried(program)
    found = Isolation(None if why_not else program, why_not, root, user)
    if not found.active and root != Path("/"):
        raise CannotIsolate(
            found.why_not,
            where=root,
            expected="a working bubblewrap to run a container's root",
            remedy="apt-get install bubblewrap",
        )
    return found


def _tried(program: str) -> str:
    cage = [*mounts(Path("/"), program=program), *CAGED]
    try:
        done = subprocess.run([*cage, "--", "true"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not run here: {error}"
    said = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"bubblewrap does not work here: {said}" if done.returncode else ""

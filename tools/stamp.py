"""Copy the metaparameter schema with commit_id and technique_changes taken from git: `stamp.py SCHEMA DESTINATION`.

It runs on the machine that builds the container, of which only an old Python may be asked: standard library, and the
language of 3.7 (NIST's machines: Ubuntu 20.04, with 3.8). The schema in the repository is never written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHANGES = 5
LONGEST = 400


class NoGit(Exception):
    """The folder's history cannot be read."""


def git(folder: Path, *arguments: str) -> str:
    """What git prints, stripped; a repository of another user is read too, as in a build under fakeroot or sudo."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        with tempfile.TemporaryDirectory(prefix="stamp-") as home:
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=_trusting(Path(home))
            )
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise NoGit(said.strip().replace("\n", " ")) from error


def _trusting(home: Path) -> dict[str, str]:
    """Variables under which git trusts every repository, its other settings being the user's.

    Before 2.38 git heeds safe.directory in the user's own file alone, neither after -c nor in variables, and before
    2.32 that file is where HOME says.
    """
    users = Path(os.path.expanduser("~"))
    file = json.dumps(os.environ.get("GIT_CONFIG_GLOBAL", str(users / ".gitconfig")), ensure_ascii=False)
    (home / ".gitconfig").write_text("[include]\n\tpath = " + file + "\n[safe]\n\tdirectory = *\n")
    beside = {"HOME": str(home), "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", str(users / ".config"))}
    return {**os.environ, **beside, "GIT_CONFIG_GLOBAL": str(home / ".gitconfig")}


def commit_id(folder: Path) -> str:
    """The commit's hash, with -dirty where tracked files differ from it."""
    changed = git(folder, "status", "--porcelain", "--untracked-files=no")
    return git(folder, "rev-parse", "HEAD") + ("-dirty" if changed else "")


def technique_changes(folder: Path) -> str:
    """The subjects of the commits since the last tag before this commit, newest first; of the last few without one."""
    try:
        since = [git(folder, "describe", "--tags", "--abbrev=0", "HEAD^") + "..HEAD"]
    except NoGit:
        since = []
    subjects = git(folder, "log", "--no-merges", "--format=%s", f"--max-count={CHANGES}", *since).splitlines()
    text = "; ".join(subjects) or git(folder, "log", "--max-count=1", "--format=%s")
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def stamped(schema: dict[str, object], folder: Path) -> dict[str, object]:
    """The schema with both values replaced, its keys in their order."""
    return {**schema, "commit_id": commit_id(folder), "technique_changes": technique_changes(folder)}


def main(arguments: list[str]) -> int:
    """0, or 2 with one line on what is wrong."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    source, destination = map(Path, arguments)
    if source.resolve() == destination.resolve():
        print(
            f"error: {source}: the repository's own schema is not to be written; give another file",
            file=sys.stderr,
        )
        return 2
    try:
        schema = stamped(json.loads(source.read_text()), source.resolve().parent)
        destination.write_text(json.dumps(schema, indent=2) + "\n")
    except (NoGit, OSError, ValueError) as error:
        print(
            f"error: {source}: {error}; expected a schema in a git checkout; build from a clone",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

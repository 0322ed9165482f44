"""An apptainer definition file's sections, and the same steps taken on a Debian root: one def, two builders.

Of apptainer's format it knows what container.def uses: a header, %setup, %files, %post, %environment, %runscript,
%test, %help; anything else is refused, so that nothing in the def is silently left undone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from weightfeat.server.folder import hashes
from weightfeat.server.isolation import mounts

KNOWN = ("setup", "files", "post", "environment", "runscript", "test", "help")
COMPILED = "__pycache__"
SCRIPTS = ".singularity.d"
PATHS = ("find_links", "index_url", "extra_index_url")


@dataclass(frozen=True)
class Definition:
    """The header's values by lower-case key, and each section's text."""

    header: dict[str, str]
    sections: dict[str, str]

    @property
    def suite(self) -> str:
        """The Debian release of `From: debian:<release>-slim`."""
        found = re.fullmatch(
            r"(?:docker\.io/)?(?:library/)?debian:([a-z]+)(?:-slim)?", self.header.get("from", "")
        )
        if self.header.get("bootstrap") != "docker" or found is None:
            raise ValueError(f"{self.header}: only a docker base debian:<release>[-slim] can be rebuilt here")
        return found.group(1)


def parse(text: str) -> Definition:
    """Read a definition file; ValueError for a section that is not known here."""
    head, *parts = re.split(r"^%", text, flags=re.MULTILINE)
    lines = (line.split("#")[0].partition(":") for line in head.splitlines())
    header = {key.strip().lower(): value.strip() for key, colon, value in lines if colon}
    sections: dict[str, str] = {}
    for part in parts:
        name, _, body = part.partition("\n")
        if name.strip() not in KNOWN:
            raise ValueError(f"section %{name.strip()} is not known; expected {', '.join(KNOWN)}")
        sections[name.strip()] = body
    return Definition(header, sections)


def build(definition: Definition, context: Path, root: Path) -> None:
    """Make `root` from the def: base, %setup, %files, %post, then the scripts apptainer would leave inside."""
    mode = "root" if os.geteuid() == 0 else "unshare"
    say(f"base: debian {definition.suite}")
    run(["mmdebstrap", "--quiet", "--variant=minbase", f"--mode={mode}", definition.suite, str(root)])
    if "setup" in definition.sections:
        say("%setup")
        folders = {"APPTAINER_ROOTFS": str(root), "SINGULARITY_ROOTFS": str(root)}
        run(["/bin/sh", "-ec", definition.sections["setup"]], cwd=context, env={**os.environ, **folders})
    say("%files")
    copy_files(definition.sections.get("files", ""), context, root)
    say("%post")
    post(definition.sections.get("post", ""), root)
    write_scripts(definition, root)


def copies(section: str, context: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    """Source and destination of each line of %files, `source [destination]`."""
    for line in section.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield context / words[0], root / words[-1].lstrip("/")


def copy_files(section: str, context: Path, root: Path) -> None:
    """Copy as %files says; a folder's content goes below the destination."""
    for source, target in copies(section, context, root):
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            ignore = shutil.ignore_patterns(COMPILED)
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignore)
        else:
            shutil.copy(source, target)


def fingerprint(definition: Definition, context: Path) -> str:
    """A hash of all that a root is made from here: the sections, and every file that %files names."""
    files = [source for source, _ in copies(definition.sections.get("files", ""), context, Path())]
    content = {path: hash_ for path, hash_ in hashes(files).items() if COMPILED not in Path(path).parts}
    return hashlib.sha256(json.dumps([definition.header, definition.sections, content]).encode()).hexdigest()


def post(script: str, root: Path) -> None:
    """Run %post as root inside `root`, with the network and this machine's pip settings."""
    lent, variables = pip_settings()
    cage = mounts(root, writable=True, temporary=True)
    cage += ["--unshare-pid", "--cap-add", "ALL", "--clearenv"]
    cage += ["--ro-bind", os.path.realpath("/etc/resolv.conf"), "/etc/resolv.conf"]
    for path, inside in lent.items():
        cage += ["--ro-bind", path, inside]
    standard = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    for name, value in {**standard, **variables}.items():
        cage += ["--setenv", name, value]
    run([*cage, "--", "/bin/sh", "-ec", script])
    for inside in lent.values():  # only the empty mount points are left
        place = root / inside.lstrip("/")
        place.rmdir() if place.is_dir() else place.unlink(missing_ok=True)


def pip_settings() -> tuple[dict[str, str], dict[str, str]]:
    """Folders and files that this machine's pip settings name, to be lent to %post, and the settings as variables.

    A definition file says nothing of mirrors; a machine behind one still has to be able to build.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", listed.stdout, flags=re.MULTILINE)
    settings = {key.replace("-", "_"): value.replace("\\n", " ") for key, value in found}
    lent: dict[str, str] = {}
    for word in " ".join(settings.get(key, "") for key in PATHS).split():
        folder = Path(word.removeprefix("file://"))
        if folder.is_absolute() and folder.exists():
            top = folder.parent if word.startswith("file://") else folder  # an index refers to its neighbours
            lent[str(top)] = str(top)
    if Path(settings.get("cert", "")).is_file():
        lent[settings["cert"]] = "/run/lent-certificates.pem"
        settings["cert"] = lent[settings["cert"]]
    chosen = {
        key: value for key, value in settings.items() if key in (*PATHS, "cert", "trusted_host", "proxy")
    }
    return lent, {f"PIP_{key.upper()}": value for key, value in chosen.items()}


def write_scripts(definition: Definition, root: Path) -> None:
    """Runscript and test as files that set the environment first, where apptainer puts them."""
    folder = root / SCRIPTS
    (folder / "env").mkdir(parents=True, exist_ok=True)
    (folder / "env" / "90-environment.sh").write_text(definition.sections.get("environment", ""))
    for name in ("runscript", "test"):
        text = f"#!/bin/sh\n. /{SCRIPTS}/env/90-environment.sh\n{definition.sections.get(name, '')}"
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def run(command: list[str], **options: object) -> None:
    """Run a step; CalledProcessError where it fails. Its output goes to the terminal."""
    subprocess.run(command, check=True, **options)  # type: ignore[call-overload]


def say(line: str) -> None:
    """One line on the progress."""
    print(f"container-check: {line}", file=sys.stderr, flush=True)

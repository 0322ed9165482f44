"""What the pages say is so: they name what exists, they are as short and narrow as promised, their links lead on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from reference_pages import command_parser
from weightfeat import __version__
from weightfeat.cli import COMMANDS

REPOSITORY = Path(__file__).parents[2]
TOP = sorted(REPOSITORY.glob("*.md"))
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))
HISTORY = re.compile(r"docs/experiments/\d|CHANGELOG")
"""Pages about the code of their day: what they name may be gone."""
TODAY = [page for page in TOP + PAGES if not HISTORY.search(str(page))]
GENERATED = {REPOSITORY / "docs/reference/commands.md", REPOSITORY / "docs/reference/metaparameters.md"}
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")


def _name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def _commands(text: str) -> Iterator[list[str]]:
    """The words of every command line in a page's blocks of code, a continued one whole."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    fenced = [block for language, block in blocks if not language]
    indented = re.findall(r"(?<=\n\n)((?:    (?:make|python|weightfeat) .*\n)+)", text)
    for line in "\n".join(fenced + indented).replace("\\\n", " ").splitlines():
        words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        if words:
            yield words


def test_there_are_pages() -> None:
    assert len(PAGES) > 60
    assert len(TOP) >= 4


@pytest.mark.parametrize("page", TOP + PAGES, ids=_name)
def test_no_line_is_wider_than_120_characters(page: Path) -> None:
    assert [line for line in page.read_text().splitlines() if len(line) > 120] == []


def test_the_readme_fits_on_three_screens() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", TOP + PAGES, ids=_name)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        there = (page.parent / target).resolve() if target else page
        assert there.exists() or there in GENERATED, f"{_name(page)} links to {target}"
        if anchor and there not in GENERATED:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), flags=re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{_name(page)} links to {target}#{anchor}"


@pytest.mark.parametrize("page", TODAY, ids=_name)
def test_commands_in_examples_exist_with_their_options(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    for program, *words in _commands(page.read_text()):
        if program == "make":
            assert [word for word in words if "=" not in word and word not in targets] == []
        elif program in ("python", ".venv/bin/python") and words[0] != "-m":
            assert (REPOSITORY / words[0]).is_file(), f"{_name(page)}: {words[0]}"
        elif program == "weightfeat" and words != ["--version"]:
            assert words[0] in COMMANDS, f"{_name(page)}: weightfeat {words[0]}"
            known = set(command_parser(words[0]).format_help().replace("[", " ").replace(",", " ").split())
            given = words[: words.index("--")] if "--" in words else words
            options = {word for word in given if word.startswith("-")}
            assert options <= known, f"{_name(page)}: weightfeat {' '.join(words)}"


@pytest.mark.parametrize("page", TODAY, ids=_name)
def test_paths_of_the_repository_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:weightfeat|tests|benchmarks|tools|docs|holdout|recipes)/[\w./-]*)`", page.read_text()
    )
    absent = [path for path in named if not (REPOSITORY / path).exists()]
    kept = {"recipes/given_up.csv"}
    assert set(absent) <= kept, f"{_name(page)} names {absent}"


def test_every_experiment_is_in_the_index_once_and_in_order() -> None:
    folder = REPOSITORY / "docs/experiments"
    index = (folder / "index.md").read_text()
    rows = [int(number) for number in re.findall(r"^\| \[(\d+)\] \|", index, flags=re.MULTILINE)]
    files = dict(re.findall(r"^\[(\d+)\]: (\S+)$", index, flags=re.MULTILINE))
    assert rows == list(range(1, len(rows) + 1)) == [int(number) for number in files]
    assert sorted(files.values()) == sorted(page.name for page in folder.glob("[0-9]*.md"))
    for number, name in files.items():
        assert (folder / name).read_text().startswith(f"# {number}. ")


def test_the_version_is_the_same_everywhere() -> None:
    assert f"\nversion: {__version__}\n" in (REPOSITORY / "CITATION.cff").read_text()
    assert f"\n## [{__version__}] - " in (REPOSITORY / "CHANGELOG.md").read_text()

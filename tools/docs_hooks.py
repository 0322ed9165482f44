"""What mkdocs adds to docs/ at every build: pages made by the code, pages from outside docs/, links between them.

A page in docs/ links to any file of the repository as it lies there (`../../benchmarks/speed.md`), so that the link
works where the repository is browsed. Here each such file becomes a page under `repository/`, and the links follow.
A link to a file that is not there is a warning, which `--strict` turns into a failure.
"""

from __future__ import annotations

import json
import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reference_pages import commands_page, metaparameters_page, notebook_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
OUTSIDE = "repository/"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)")
EXPERIMENT = re.compile(r"\b([Ee]xperiments? )(\d+)\b(?![^\[]*\]\()")

log = logging.getLogger("mkdocs.hooks.weightfeat")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that the code writes, and what is linked to outside docs/."""
    from mkdocs.structure.files import File, InclusionLevel

    schema, shipped = (
        json.loads((REPOSITORY / name).read_text())
        for name in ("metaparameters_schema.json", "metaparameters.json")
    )
    for name, content in (
        ("reference/commands.md", commands_page()),
        ("reference/metaparameters.md", metaparameters_page(schema, shipped)),
    ):
        files.append(File.generated(config, name, content=content))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        shown = notebook_page(json.loads(notebook.content_string))
        files.append(File.generated(config, _page_of(notebook.src_uri), content=shown))
    pages = [page.content_string for page in files.documentation_pages()]
    uris = [page.src_uri for page in files.documentation_pages()]
    for path in sorted({path for uri, text in zip(uris, pages, strict=True) for path in _outside(uri, text)}):
        if not (REPOSITORY / path).is_file():
            log.warning("a page links to %s, which is no file of the repository", path)
            continue
        inclusion = InclusionLevel.NOT_IN_NAV
        source = str(REPOSITORY / path)
        files.append(File.generated(config, OUTSIDE + path, abs_src_path=source, inclusion=inclusion))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links out of docs/, and numbers of experiments, into links between pages of the site."""
    uri = page.file.src_uri
    markdown = LINK.sub(lambda link: _relative(uri, link.group(1)), markdown)
    if not uri.startswith(OUTSIDE):
        markdown = _with_experiments(markdown, uri, _experiments(files))
    return markdown


def _outside(uri: str, text: str) -> Iterator[str]:
    """Files of the repository, outside docs/, that a page of the site links to."""
    for target in LINK.findall(text):
        path = _in_repository(uri, target)
        if not path.startswith("docs/"):
            yield path


def _in_repository(uri: str, target: str) -> str:
    """The path within the repository of what the page `uri` of the site calls `target`."""
    own = uri.removeprefix(OUTSIDE) if uri.startswith(OUTSIDE) else f"docs/{uri}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(own), target))


def _relative(uri: str, target: str) -> str:
    path = _in_repository(uri, target)
    there = path.removeprefix("docs/") if path.startswith("docs/") else OUTSIDE + path
    return posixpath.relpath(_page_of(there), posixpath.dirname(uri) or ".")


def _page_of(uri: str) -> str:
    """What a notebook is called as a page; any other file as it is."""
    return re.sub(r"\.ipynb$", ".md", uri)


def _experiments(files: Files) -> dict[int, str]:
    """The page of each experiment, by its number."""
    found = (re.match(r"experiments/(\d+)-", file.src_uri) for file in files.documentation_pages())
    return {int(match.group(1)): match.string for match in found if match is not None}


def _with_experiments(markdown: str, uri: str, pages: dict[int, str]) -> str:
    """`experiment 27` as a link to its page, but on that page itself and in code."""

    def linked(match: re.Match[str]) -> str:
        there = pages.get(int(match.group(2)))
        if there is None or there == uri:
            return match.group(0)
        return (
            f"{match.group(1)}[{match.group(2)}]({posixpath.relpath(there, posixpath.dirname(uri) or '.')})"
        )

    lines = markdown.split("\n")
    return "\n".join(
        line if line.startswith(("#", "    ")) else EXPERIMENT.sub(linked, line) for line in lines
    )

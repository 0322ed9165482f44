"""The notebook of the tutorial runs from its first cell to its last, and what it shows is what a scan says today."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from reference_pages import notebook_page

nbformat = pytest.importorskip("nbformat", reason="needs the extra dev")
nbclient = pytest.importorskip("nbclient", reason="needs the extra dev")

REPOSITORY = Path(__file__).parents[2]
NOTEBOOK = REPOSITORY / "docs" / "tutorial" / "python.ipynb"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        client = nbclient.NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    return notebook


def shown(notebook: Any) -> list[list[str]]:
    """What each cell says: its words, figures left out, for they differ between processors."""
    cells = [
        [_output(output) for output in cell["outputs"]]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    return [[re.sub(r"\d+(\.\d+)?", "#", text) for text in texts] for texts in cells]


def _output(output: Any) -> str:
    data = output.get("data", {})
    return str(output.get("text") or data.get("text/html") or data["text/plain"])


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning")
def test_it_says_what_it_said_when_it_was_written(ran: Any) -> None:
    assert shown(ran) == shown(nbformat.read(NOTEBOOK, as_version=4))


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning")
def test_a_verdict_is_shown_as_its_card_and_names_the_planted_class(ran: Any) -> None:
    (card,) = [
        output
        for cell in ran["cells"]
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]
    assert "trojaned: planted.safetensors" in card["data"]["text/html"]
    assert re.search(r"suspected target class</th><td>7<", card["data"]["text/html"])


def test_a_page_holds_text_code_and_what_was_said_in_order() -> None:
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["# Title\n", "text"]},
            {
                "cell_type": "code",
                "source": ["1 + 1"],
                "outputs": [
                    {"text": ["printed\n"]},
                    {"data": {"text/plain": ["2"]}},
                    {"data": {"text/html": ["<table></table>"], "text/plain": ["x"]}},
                ],
            },
        ]
    }
    assert notebook_page(notebook) == (
        "# Title\ntext\n\n```python\n1 + 1\n```\n\n```text\nprinted\n```\n\n```text\n2\n```\n\n<table></table>\n"
    )

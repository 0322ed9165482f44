"""The site builds without a warning, links included, and holds what only the build adds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs the extra docs")

REPOSITORY = Path(__file__).parents[2]
BUILD = (sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir")
ENVIRONMENT = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [*BUILD, str(folder)], cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.e2e
def test_pages_made_by_the_code_are_there(site: Path) -> None:
    assert 'id="weightfeat-scan"' in (site / "reference/commands.html").read_text()
    assert "train_num_leaves" in (site / "reference/metaparameters.html").read_text()
    assert 'id="weightfeat.detector.Detector.predict"' in (site / "reference/python.html").read_text()


@pytest.mark.e2e
def test_every_link_within_the_site_leads_to_a_file_of_it(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # served for any address: its links start at the site's root
            continue
        for address in re.findall(r'<a [^>]*href="([^"]+)"', page.read_text()):
            target = address.partition("#")[0].partition("?")[0]
            within = target and ":" not in target
            assert not within or (page.parent / target).exists(), f"{page.relative_to(site)}: {address}"


@pytest.mark.e2e
def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert [address for address in loaded if "canonical" not in address] == []

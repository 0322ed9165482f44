"""The page in a real browser: it opens without a complaint, sorts, filters, reads aloud well, and runs nothing foreign.

Debian's chromium and chromedriver drive it through selenium; axe-core comes by `npm install axe-core`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from report_samples import entries, evidence, heading, report, verdict
from weightfeat.report import Entry, Report
from weightfeat.report.html import html

webdriver = pytest.importorskip("selenium.webdriver")
AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as opened:
        opened.set_window_size(1100, 900)
        # A browser on a busy machine is slow, not wrong.
        opened.set_script_timeout(300)
        opened.set_page_load_timeout(300)
        yield opened


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Any:
    show(browser, tmp_path, report())
    return browser


def show(browser: Any, folder: Path, shown: Report) -> None:
    (folder / "page.html").write_text(html(shown), encoding="utf-8")
    browser.get((folder / "page.html").as_uri())


def rows(browser: Any) -> list[str]:
    """The paths of the rows that are shown, in order."""
    return [
        row.find_element("css selector", "th").text
        for row in browser.find_elements("css selector", "#files tbody tr")
        if row.is_displayed()
    ]


def test_it_opens_without_a_complaint_and_what_a_file_wrote_is_only_text(opened: Any) -> None:
    assert opened.get_log("browser") == []
    assert opened.title == "Model scan: 6 files"
    assert len(opened.find_elements("css selector", "script")) == 1
    assert "<script>alert(1)</script>" in rows(opened)[1]
    assert len(opened.find_elements("css selector", "section.file")) == 6


def test_nothing_is_fetched_and_no_foreign_script_would_run(opened: Any) -> None:
    assert opened.execute_script("return performance.getEntriesByType('resource').length") == 0
    ran = opened.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = true';"
        "document.body.append(s); return window.ran === true"
    )
    assert not ran


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("Verdict", ["trojaned", "accepted", "<script>", "clean", "unsure", "empty"]),
        ("Probability", ["empty", "clean", "<script>", "unsure", "trojaned", "accepted"]),
    ],
)
def test_a_click_on_a_head_sorts_and_another_turns_it_round(
    opened: Any, column: str, order: list[str]
) -> None:
    head = next(
        each
        for each in opened.find_elements("css selector", "#files thead th")
        if each.text.startswith(column)
    )
    for direction in ("ascending", "descending"):
        head.find_element("css selector", "button").click()
        assert head.get_attribute("aria-sort") == direction
        if direction == "ascending":
            assert all(part in path for part, path in zip(order, rows(opened), strict=True))
    assert order[0] in rows(opened)[-1] or order[1] in rows(opened)[-1]
    sorted_by = opened.find_elements("css selector", "#files th[aria-sort]:not([aria-sort=none])")
    assert len(sorted_by) == 1


def test_filters_hide_what_does_not_fit_and_say_so(opened: Any) -> None:
    opened.find_element("id", "filter-path").send_keys("MODELS/")
    assert len(rows(opened)) == 5
    for option in opened.find_elements("css selector", "#filter-word option"):
        if option.get_attribute("value") == "trojaned":
            option.click()
    assert rows(opened) == ["models/trojaned.pt", "models/accepted.pt"]
    assert opened.find_element("id", "shown").text == "2 of 6 files shown"


def test_a_keyboard_reaches_every_control_and_its_focus_is_seen(opened: Any) -> None:
    reached = set()
    for _ in range(60):
        opened.switch_to.active_element.send_keys("\ue004")  # tab
        element = opened.switch_to.active_element
        reached.add(f"{element.tag_name} {element.get_attribute('id') or element.text}".strip())
        if element.tag_name in ("button", "summary"):
            assert (
                opened.execute_script("return getComputedStyle(arguments[0]).outlineStyle", element) != "none"
            )
    for wanted in ("input filter-path", "select filter-word", "button Probability", "a models/clean.pt"):
        assert any(each.startswith(wanted) for each in reached), (wanted, reached)
    assert any(each.startswith("summary") for each in reached)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("files", ["many", "one", "none"])
def test_it_passes_axe_in_light_and_dark(browser: Any, tmp_path: Path, scheme: str, files: str) -> None:
    """Contrast, landmarks, names of controls, tables' heads, languages: axe's rules of WCAG 2 A and AA and its own."""
    if not AXE.is_file():
        pytest.skip("no axe-core: npm install axe-core")
    shown = {"many": report(), "one": Report(heading(), entries()[:1]), "none": Report(heading(), [])}[files]
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    show(browser, tmp_path, shown)
    browser.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
    broken = browser.execute_async_script(
        "const done = arguments[arguments.length - 1]; axe.run().then((found) => done(found.violations.map("
        "(each) => [each.id, each.help, each.nodes.map((node) => node.html.slice(0, 120))])))"
    )
    assert broken == []


def test_it_stays_small_and_whole_with_many_classes_and_layers(browser: Any, tmp_path: Path) -> None:
    entry = Entry(Path("large.pt"), 1, "a" * 64, verdict(num_classes=1000), evidence=evidence(1000, 300))
    text = html(Report(heading(), [entry]))
    assert len(text) < 200_000
    show(browser, tmp_path, Report(heading(), [entry]))
    assert "984 more classes" in browser.find_element("css selector", "body").text
    assert "289 more layers" in browser.find_element("css selector", "summary").text
    wide = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    for width in (1100, 500):
        browser.set_window_size(width, 900)
        assert browser.execute_script(wide), width
    browser.set_window_size(1100, 900)


def test_it_prints_with_everything_open(opened: Any) -> None:
    opened.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert all(part.get_attribute("open") for part in opened.find_elements("css selector", "details"))
    assert opened.print_page().startswith("JVBERi0")  # %PDF-

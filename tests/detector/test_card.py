"""A verdict in a notebook: what it says, as HTML in which nothing that a file wrote is more than text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from report_samples import HOSTILE, verdict


class Outline(HTMLParser):
    """Tags and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def outline(html: str) -> Outline:
    found = Outline()
    found.feed(html)
    return found


def test_it_says_what_the_verdict_says() -> None:
    found = outline(verdict(path=Path("model.pt"))._repr_html_())
    assert "trojaned: model.pt" in found.said
    said = dict(zip(found.said[1::2], found.said[2::2], strict=True))
    assert said["probability of a trojan"] == "0.93, interval 0.83 to 0.98"
    assert said["suspected target class"] == "2"
    assert said["findings"].startswith("foreign-callable: os.system is called")


def test_a_class_is_named_only_where_a_trojan_is_likely() -> None:
    assert verdict(probability=0.5).is_named
    assert not verdict(probability=0.49).is_named
    assert not verdict(suspect=None).is_named
    found = outline(verdict(probability=0.49)._repr_html_())
    assert found.said[found.said.index("suspected target class") + 1] == "none"


def test_what_a_file_wrote_is_text() -> None:
    html = verdict(path=Path(HOSTILE), architecture=HOSTILE, findings=(f"note: {HOSTILE}",))._repr_html_()
    html.encode()
    assert outline(html).tags == {"table", "caption", "b", "tbody", "tr", "th", "td"}
    assert html.isprintable()

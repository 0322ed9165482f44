"""A project's settings: read from the working folder, refused in one line where they mean nothing."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from weightfeat.commands.settings import BadSettings, Settings, load

SHA = "a" * 64
WHOLE = f"""
fail_on = "suspicious"
include = ["*.pt"]
exclude = ["drafts", "*.tmp"]

[[accept]]
sha256 = "{SHA}"
reason = "a known toy"
until = 2027-05-01
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_file_there_are_the_defaults() -> None:
    assert load(None) == Settings()
    Path("pyproject.toml").write_text("[tool.other]\n")
    assert load(None) == Settings()


def test_both_files_say_the_same_and_our_own_comes_first() -> None:
    table = WHOLE.replace("[[accept]]", "[[tool.weightfeat.accept]]").replace(
        "fail_on", "[tool.weightfeat]\nfail_on"
    )
    Path("pyproject.toml").write_text(table)
    from_project = load(None)
    assert (from_project.where, from_project.fail_on.text) == (Path("pyproject.toml"), "suspicious")
    assert from_project.exclude == ("drafts", "*.tmp")
    (held,) = from_project.accepted
    assert (held.sha256, held.reason, held.until) == (SHA, "a known toy", dt.date(2027, 5, 1))
    Path(".weightfeat.toml").write_text('fail_on = "never"\n')
    assert load(None).fail_on.text == "never"
    assert load(Path("pyproject.toml")) == from_project


def test_an_acceptance_is_of_a_content_and_of_its_days() -> None:
    Path(".weightfeat.toml").write_text(WHOLE)
    settings = load(None)
    assert settings.acceptance(SHA, dt.date(2027, 5, 1)) == settings.accepted[0]
    assert settings.acceptance(SHA, dt.date(2027, 5, 2)) is None
    assert settings.acceptance("b" * 64, dt.date(2027, 5, 1)) is None
    assert settings.acceptance(None, dt.date(2027, 5, 1)) is None
    assert settings.expired(dt.date(2027, 5, 2)) == settings.accepted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fail_on = ", "is no TOML"),
        ("fail = 1", "'fail' is no setting"),
        ('fail_on = "loud"', "fail_on: 'loud' is no threshold"),
        ("fail_on = 2", "fail_on: '2' is no threshold"),
        ('exclude = "*.pt"', "exclude is no list"),
        ("include = [1]", "include is no list"),
        ("accept = 1", "accept is no list"),
        ('[accept]\nsha256 = "a"', "accept is no list"),
        ('[[accept]]\nreason = "x"', "accept number 1 names no file"),
        ('[[accept]]\npath = "model.pt"\nreason = "x"', "accept number 1 says something else"),
        (f'[[accept]]\nsha256 = "{SHA}"\nreason = " "', "accept number 1 gives no reason"),
        (f'[[accept]]\nsha256 = "{SHA}"\nreason = "x"\nuntil = "May"', "accept number 1 ends on no date"),
        (f'[[accept]]\nsha256 = "{SHA}"\nreason = "x"\nuntil = 2027-05-01T00:00:00', "ends on no date"),
    ],
)
def test_what_means_nothing_is_one_line(text: str, said: str) -> None:
    Path(".weightfeat.toml").write_text(text)
    with pytest.raises(BadSettings) as caught:
        load(None)
    assert said in str(caught.value)
    assert str(caught.value).startswith(".weightfeat.toml: ")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_tables_that_are_none() -> None:
    Path("bad.toml").write_bytes(b"\xff")
    with pytest.raises(BadSettings, match="is no TOML"):
        load(Path("bad.toml"))
    Path("pyproject.toml").write_text("[tool]\nweightfeat = 1\n")
    with pytest.raises(BadSettings, match="is no table"):
        load(None)

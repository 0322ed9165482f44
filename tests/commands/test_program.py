"""What a program shows on stderr, and the exit code it ends with."""

from __future__ import annotations

import logging
import os

import pytest

from container_round import own_environment
from weightfeat.commands.program import run, wait_quietly
from weightfeat.errors import BadOutput, one_line

# Sets the terminal's title, wipes the line, and writes a verdict in its place.
FORGED = "\x1b]0;pwned\x07\x1b[2K\r0.0100 [0.01, 0.02]  resnet18  5 classes  model.pt\n"
LOGGER = logging.getLogger("weightfeat.some.room")


def told() -> int:
    """A line a level."""
    LOGGER.debug("a step")
    LOGGER.info("%d %% of %s", 100, "it")
    LOGGER.warning("beware")
    return 0


def test_what_goes_to_stderr_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def explode() -> int:
        LOGGER.info(FORGED)
        raise ZeroDivisionError(FORGED)

    assert run(explode) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"weightfeat: {one_line(FORGED)}",
        f"error: unforeseen ZeroDivisionError: {one_line(FORGED)}",
    ]


@pytest.mark.parametrize(("level", "steps"), [(logging.INFO, []), (logging.DEBUG, ["weightfeat: a step"])])
def test_a_program_shows_what_is_logged_from_its_level_up(
    level: int, steps: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(told, level=level) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [*steps, "weightfeat: 100 % of it", "weightfeat: warning: beware"]


def test_after_a_program_the_package_logs_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    package = logging.getLogger("weightfeat")
    before = (package.level, list(package.handlers))
    run(told)
    assert (package.level, package.handlers) == before
    capsys.readouterr()
    LOGGER.info("nobody runs")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            BadOutput("is full", where="here", expected="room", remedy="make some"),
            2,
            "error: here: is full; ",
        ),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (OSError("gone"), 1, "error: unforeseen OSError: gone"),
    ],
)
def test_what_is_raised_becomes_a_line_and_a_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert run(fail) == code
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)


@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_threads_wait_quietly_unless_the_user_chose(chosen: str | None) -> None:
    with own_environment():
        os.environ.pop("OMP_WAIT_POLICY", None)
        if chosen:
            os.environ["OMP_WAIT_POLICY"] = chosen
        wait_quietly()
        assert os.environ["OMP_WAIT_POLICY"] == (chosen or "PASSIVE")

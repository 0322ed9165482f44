"""The evaluation server with sound and broken detectors: what it names, scores and leaves behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import server_detectors
from server_detectors import BROKEN, NAMED, QUICK, SOUND, write_round
from weightfeat.container import flags
from weightfeat.errors import BadOutput, BadRound
from weightfeat.rounds.disk import read_round
from weightfeat.server import folder, logs, processes, report, server
from weightfeat.server.api import APIS, Parameters, arguments
from weightfeat.server.folder import Outcome
from weightfeat.server.isolation import Isolation, find
from weightfeat.server.places import Workspace
from weightfeat.server.runner import Limits
from weightfeat.server.server import Settings, evaluate
from weightfeat.server.trial import Program
from weightfeat.server.verdicts import REMEDIES, Reason

BARE = Isolation(None, "a test of the server without one")
SHIPPED = Parameters()
PATIENT = Limits(seconds=60.0, grace=5.0, space=8 << 20)


def sound_models(count: int) -> dict[str, str]:
    return {f"id-{number:08d}": f"{(number + 1) / (count + 1):.3f}" for number in range(count)}


def settings(
    folder: Path,
    text: str,
    *,
    api: str = "1-4",
    limits: Limits = PATIENT,
    parameters: Parameters = SHIPPED,
    **more: Any,
) -> Settings:
    """Settings to run the detector `text`, written to `folder`."""
    return Settings(Program(server_detectors.command(folder, text), api, parameters), limits, **more)


def served(root: Path, output: Path, given: Settings, isolation: Isolation = BARE) -> list[Outcome]:
    output.mkdir(exist_ok=True)
    return evaluate(read_round(root), output, given, isolation)


@pytest.fixture(scope="module", params=["bare", "caged"])
def mixed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Outcome]]:
    """A round in which each broken behaviour comes once, between models that are served well."""
    isolation = BARE if request.param == "bare" else find()
    if request.param == "caged" and not isolation.active:
        pytest.skip(isolation.why_not)
    top = tmp_path_factory.mktemp("mixed")
    models = {f"id-{n:08d}": case for n, case in enumerate(BROKEN)} | {
        "id-00000090": "0.9",
        "id-00000091": "0.1",
    }
    given = settings(top / "detector", server_detectors.by_model(BROKEN), limits=QUICK)
    outcomes = served(write_round(top / "round", models), top / "out", given, isolation=isolation)
    report.write(top / "out", outcomes, isolation.described())
    return top / "out", {models[outcome.name]: outcome for outcome in outcomes}


@pytest.mark.parametrize("case", BROKEN)
def test_each_broken_detector_is_named_and_scored(case: str, mixed: tuple[Path, dict[str, Outcome]]) -> None:
    output, outcomes = mixed
    outcome = outcomes[case]
    assert (outcome.reason, outcome.score) == NAMED[case], outcome
    said = (output / "report.txt").read_text()
    assert f"{outcome.name} scored {outcome.score:g}" in said
    assert f"  {outcome.reason}: 1; {REMEDIES[outcome.reason]}" in said


def test_the_run_goes_on_after_each(mixed: tuple[Path, dict[str, Outcome]]) -> None:
    output, outcomes = mixed
    assert len(outcomes) == len(BROKEN) + 2
    assert [(outcomes[text].reason, outcomes[text].score) for text in ("0.9", "0.1")] == [
        (Reason.OK, 0.9),
        (Reason.OK, 0.1),
    ]
    assert processes.members(None, str(output.resolve())) == []
    assert not (output / "work").exists()


def test_logs_results_and_costs_are_kept(mixed: tuple[Path, dict[str, Outcome]]) -> None:
    output, outcomes = mixed
    crashed, sound = outcomes["crashes"], outcomes["0.9"]
    assert "out of luck" in (output / "logs" / f"{crashed.name}.stderr").read_text()
    assert "out of luck" in crashed.detail
    assert (output / "results" / f"{sound.name}.txt").read_text() == "0.9"
    assert not (output / "results" / f"{crashed.name}.txt").exists()
    assert outcomes["hangs"].seconds >= QUICK.seconds
    assert outcomes["hangs"].peak > 1 << 20


def test_every_reason_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Reason) - {Reason.OK}


def test_memory_is_that_of_all_processes(tmp_path: Path) -> None:
    text = "block = bytearray(b'x') * (80 << 20)\nif os.fork(): os.wait()\ntime.sleep(0.4)\n" + SOUND
    (outcome,) = served(
        write_round(tmp_path / "r", {"id-0": "0.5"}), tmp_path / "o", settings(tmp_path, text)
    )
    assert outcome.reason is Reason.OK
    assert 80 << 20 < outcome.peak < 1 << 30


def test_a_program_that_is_absent_is_named(tmp_path: Path) -> None:
    given = Settings(Program(("/nowhere/detector",), "1-4", SHIPPED), PATIENT)
    (outcome,) = served(write_round(tmp_path / "r", {"id-0": "0.5"}), tmp_path / "o", given)
    assert outcome.reason is Reason.CANNOT_START
    assert "/nowhere/detector" in outcome.detail


@pytest.mark.parametrize(
    ("text", "reason", "score"),
    [
        ("result.write_bytes(b'\\xff\\xfe')", Reason.NOT_PARSED, 0.5),
        ("result.write_text('\\n0.5')", Reason.NOT_PARSED, 0.5),
        ("result.write_text(' 0.5 \\n\\n')", Reason.OK, 0.5),
        ("result.write_text('')", Reason.WROTE_NOTHING, 0.5),
        ("result.write_text('-inf')", Reason.OUT_OF_RANGE, 0.0),
        ("result.mkdir()", Reason.NOT_PARSED, 0.5),
        ("result.symlink_to('/etc/hostname')", Reason.NOT_PARSED, 0.5),
        ("result.write_text('0.3'); sys.exit(3)", Reason.CRASHED, 0.3),
        ("result.write_text('0.3'); time.sleep(60)", Reason.TIMED_OUT, 0.3),
        ("(scratch / 'result.txt').write_text('0.3')", Reason.WROTE_ELSEWHERE, 0.5),
        ("os.setsid() if os.fork() == 0 else sys.exit()\ntime.sleep(60)", Reason.LEFT_PROCESSES, 0.5),
    ],
)
def test_odd_results(text: str, reason: Reason, score: float, tmp_path: Path) -> None:
    root = write_round(tmp_path / "r", {"id-0": "0.5"})
    (outcome,) = served(root, tmp_path / "o", settings(tmp_path, text, limits=QUICK))
    assert (outcome.reason, outcome.score) == (reason, score)
    assert processes.members(None, str((tmp_path / "o").resolve())) == []


def test_a_stray_file_beside_a_good_result_is_a_warning(tmp_path: Path) -> None:
    text = SOUND + "\n(pathlib.Path.home() / 'cache').write_text('x')"
    (outcome,) = served(
        write_round(tmp_path / "r", {"id-0": "0.5"}), tmp_path / "o", settings(tmp_path, text)
    )
    assert outcome.reason is Reason.OK
    assert "home/cache" in outcome.warnings[0]


def test_every_model_is_seen_at_the_same_paths_with_fresh_scratch(tmp_path: Path) -> None:
    text = "assert not list(scratch.iterdir()); (scratch / 'left').touch(); print(sys.argv[1:])\n" + SOUND
    text = text.replace("; print", "; assert (model.parent / 'example_data').is_dir(); print")
    outcomes = served(write_round(tmp_path / "r", sound_models(3)), tmp_path / "o", settings(tmp_path, text))
    assert [outcome.reason for outcome in outcomes] == [Reason.OK] * 3
    assert len({(tmp_path / "o" / "logs" / f"{o.name}.stdout").read_text() for o in outcomes}) == 1


def test_examples_are_copied_whatever_the_round_calls_them(tmp_path: Path) -> None:
    root = write_round(tmp_path / "r", {"id-0": "0.5"})
    (root / "id-0" / "clean-example-data").mkdir()
    (root / "id-0" / "clean-example-data" / "a.png").touch()
    text = "assert os.listdir(given['--examples_dirpath']) == ['a.png']\n" + SOUND
    (outcome,) = served(root, tmp_path / "o", settings(tmp_path, text))
    assert outcome.reason is Reason.OK


def test_the_order_is_shuffled_by_the_seed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    root = write_round(tmp_path / "r", sound_models(6))

    def order(seed: int, folder: str) -> list[str]:
        caplog.clear()
        served(root, tmp_path / folder, settings(tmp_path, SOUND, seed=seed))
        return [line.split()[1] for line in caplog.messages if line.startswith("[")]

    first = order(1, "a")
    assert first == order(1, "b")
    assert first != order(2, "c")
    assert sorted(first) == sorted(f"{name}:" for name in sound_models(6))


def test_a_smoke_test_runs_the_first_two(tmp_path: Path) -> None:
    root = write_round(tmp_path / "r", sound_models(5))
    outcomes = served(root, tmp_path / "o", settings(tmp_path, SOUND, smoke_test=True))
    assert [outcome.name for outcome in outcomes] == ["id-00000000", "id-00000001"]


def test_the_overall_limit_scores_the_rest_and_can_be_raised(tmp_path: Path) -> None:
    root = write_round(tmp_path / "r", sound_models(4))
    text = "time.sleep(0.4)\n" + SOUND
    first = served(root, tmp_path / "o", settings(tmp_path, text, total=0.3))
    reasons = sorted(outcome.reason for outcome in first)
    assert reasons == [Reason.NO_TIME_LEFT] * 3 + [Reason.TIMED_OUT]
    assert {outcome.score for outcome in first} == {0.5}
    again = served(root, tmp_path / "o", settings(tmp_path, text))
    assert sorted(outcome.reason for outcome in again) == [Reason.OK] * 3 + [Reason.TIMED_OUT]


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path) -> None:
    root, output, resumed = write_round(tmp_path / "r", sound_models(4)), tmp_path / "o", tmp_path / "resumed"
    text = f"done = list(pathlib.Path({str(output / 'runs')!r}).glob('*.json'))\n"
    text += f"if len(done) == 2 and not os.path.exists({str(resumed)!r}): time.sleep(300)\n" + SOUND
    command = server_detectors.command(tmp_path / "d", text)
    line = [sys.executable, "-c", "import sys; from weightfeat.cli import main; sys.exit(main())"]
    line += ["evaluate", str(root), "--output", str(output), "--api", "1-4", "--", *command]
    mark = str(output.resolve())
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (len(records(output)) == 2 and detectors(mark, server.pid)):
        time.sleep(0.02)
    server.send_signal(signal.SIGKILL)
    server.wait()
    kept = records(output)
    assert len(kept) == 2
    assert processes.members(None, mark)  # the third model's detector outlives the server

    resumed.touch()
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "2 of 4 models were run before" in done.stderr
    assert processes.members(None, mark) == []
    assert len(records(output)) == 4
    assert kept.items() <= records(output).items()
    assert "4 of 4 models ok" in done.stdout
    rows = (output / "results.csv").read_text().splitlines()
    assert [row.split(",")[2] for row in rows[1:]] == ["0.2", "0.4", "0.6", "0.8"]


def test_a_server_told_to_end_takes_its_detector_along(tmp_path: Path) -> None:
    root, output = write_round(tmp_path / "r", sound_models(2)), tmp_path / "o"
    command = server_detectors.command(tmp_path / "d", "time.sleep(300)")
    line = [sys.executable, "-c", "import sys; from weightfeat.cli import main; sys.exit(main())"]
    line += ["evaluate", str(root), "--output", str(output), "--api", "1-4", "--", *command]
    mark = str(output.resolve())
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not detectors(mark, server.pid):
        time.sleep(0.02)
    server.terminate()
    said = server.communicate(timeout=60)[1]
    assert server.returncode == 130
    assert said.splitlines()[-1] == "error: interrupted"
    assert processes.members(None, mark) == []
    assert not (output / "work").exists()


def records(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (output / "runs").glob("*.json")}


def detectors(mark: str, server: int) -> list[processes.Member]:
    return [member for member in processes.members(None, mark) if member.pid != server]


def test_outcomes_of_different_detectors_do_not_mix(tmp_path: Path) -> None:
    root = write_round(tmp_path / "r", sound_models(2))
    served(root, tmp_path / "o", settings(tmp_path / "one", SOUND))
    with pytest.raises(BadOutput, match="another command"):
        served(root, tmp_path / "o", settings(tmp_path / "two", SOUND))
    with pytest.raises(BadOutput, match="another api"):
        served(root, tmp_path / "o", settings(tmp_path / "one", SOUND, api="9"))


def test_changed_parameter_files_do_not_mix_either(tmp_path: Path) -> None:
    root, shipped = write_round(tmp_path / "r", sound_models(1)), tmp_path / "metaparameters.json"
    given = settings(tmp_path / "one", SOUND, parameters=Parameters(metaparameters=shipped))
    shipped.write_text("1")
    served(root, tmp_path / "o", given)
    shipped.write_text("2")
    with pytest.raises(BadOutput, match="another parameters"):
        served(root, tmp_path / "o", given)


def test_a_model_that_is_not_there_does_not_stop_the_others(tmp_path: Path) -> None:
    root = write_round(tmp_path / "r", sound_models(2))
    (root / "id-00000000" / "model.pt").unlink()
    outcomes = served(root, tmp_path / "o", settings(tmp_path, SOUND))
    assert [(o.reason, o.score) for o in outcomes] == [(Reason.NO_MODEL, 0.5), (Reason.OK, 0.667)]


def test_a_round_without_models_is_refused(tmp_path: Path) -> None:
    root = write_round(tmp_path / "r", {"id-0": "0.5"})
    (root / "id-0" / "model.pt").unlink()
    (root / "id-0").rmdir()
    with pytest.raises(BadRound, match="none of its models"):
        served(root, tmp_path / "o", settings(tmp_path, SOUND))


@pytest.mark.parametrize(
    ("api", "has", "has_not"),
    [
        ("1-4", "--examples_dirpath", "--cls_token_is_first"),
        ("5-8", "--tokenizer_filepath", "--schema_filepath"),
        ("9", "--embedding_filepath", "--source_dataset_dirpath"),
        ("10", "--source_dataset_dirpath", "--tokenizer_filepath"),
        ("11", "--learned_parameters_dirpath", "--cls_token_is_first"),
        ("infer", "infer", "--source_dataset_dirpath"),
    ],
)
def test_flags_of_each_round(api: str, has: str, has_not: str, tmp_path: Path) -> None:
    words = arguments(api, Workspace.on_host(tmp_path), SHIPPED)
    basic = {"--model_filepath", "--result_filepath", "--scratch_dirpath", "--examples_dirpath"}
    assert basic <= set(words)
    assert has in words
    assert has_not not in words
    assert words.count("infer") == (api == "infer")
    assert "--features_filepath" not in words
    assert "--configure_mode" not in words
    assert set(APIS) == {"1-4", "5-8", "9", "10", "11", "infer"}


@pytest.mark.parametrize("api", APIS)
def test_our_own_detector_understands_each_round_s_flags(api: str, tmp_path: Path) -> None:
    space = Workspace.on_host(tmp_path)
    found = flags.parse(arguments(api, space, SHIPPED))
    assert (found.mode, found.unknown) == ("infer", ())
    assert (found.model_filepath, found.result_filepath) == (space.active / "model.pt", space.result)
    named = (found.metaparameters_filepath, found.schema_filepath, found.learned_parameters_dirpath)
    shipped = (SHIPPED.metaparameters, SHIPPED.schema, SHIPPED.learned)
    assert named == ((None, None, None) if api in ("1-4", "5-8") else shipped)


def test_no_isolation_is_said_plainly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    served(write_round(tmp_path / "r", {"id-0": "0.5"}), tmp_path / "o", settings(tmp_path, SOUND))
    assert any("NOT isolated" in line and "bubblewrap" in line for line in caplog.messages)


def test_the_round_is_not_touched(tmp_path: Path) -> None:
    root = write_round(tmp_path / "r", {"id-0": "0.5"})
    os.chmod(root / "id-0" / "model.pt", 0o444)
    text = "model.write_text('spoilt')\nresult.write_text('0.5')"
    served(root, tmp_path / "o", settings(tmp_path, text))
    assert (root / "id-0" / "model.pt").read_text() == "0.5"


def test_detector_and_overhead_are_all_the_time_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk under the outcomes is the server's time, not nobody's: that of the next model, as it is written."""

    def slowly(output: Path, outcome: Outcome) -> None:
        time.sleep(0.3)
        folder.keep(output, outcome)

    monkeypatch.setattr(server, "keep", slowly)
    root = write_round(tmp_path / "r", sound_models(3))
    outcomes = served(root, tmp_path / "o", settings(tmp_path, SOUND))
    assert sorted(outcome.overhead >= 0.3 for outcome in outcomes) == [False, True, True]
    for outcome in outcomes:
        assert outcome.overhead > 0
        assert folder.kept(tmp_path / "o", outcome.name, outcome.label) == outcome


@pytest.mark.parametrize("place", ["model.parent / 'big'", "pathlib.Path.home() / 'big'", "result"])
def test_space_is_limited_wherever_a_detector_writes(place: str, tmp_path: Path) -> None:
    text = f"while True:\n    with open({place}, 'ab') as f:\n        f.write(bytes(1 << 20))"
    root = write_round(
        tmp_path / "r", {"id-0": "0.5" + " " * (16 << 20)}
    )  # the model's own size does not count
    (outcome,) = served(root, tmp_path / "o", settings(tmp_path, text))
    assert outcome.reason is Reason.FILLED_SCRATCH


DEEP = """
os.chdir(scratch)
for _ in range(1200):  # more than a process opens files, or Python calls itself, or a path has room for
    os.mkdir("a" * 100)
    os.chdir("a" * 100)
"""


@pytest.mark.parametrize("where", ["scratch", "model.parent", "pathlib.Path.home()"])
def test_folders_in_one_another_do_not_end_the_server(where: str, tmp_path: Path) -> None:
    root = write_round(tmp_path / "r", sound_models(2))
    text = SOUND + DEEP.replace("scratch", where)
    outcomes = served(root, tmp_path / "o", settings(tmp_path, text, limits=Limits(60.0, space=1 << 30)))
    assert [outcome.reason for outcome in outcomes] == [Reason.OK, Reason.OK]
    assert not (tmp_path / "o" / "work").exists()
    nothing = settings(
        tmp_path / "second", DEEP.replace("scratch", where), limits=Limits(60.0, space=1 << 30)
    )
    outcomes = served(root, tmp_path / "p", nothing)  # whose result is looked for everywhere
    assert [outcome.reason for outcome in outcomes] == [Reason.WROTE_NOTHING] * 2


def test_what_is_written_below_the_longest_path_counts(tmp_path: Path) -> None:
    text = DEEP + "while True:\n    with open('big', 'ab') as f:\n        f.write(bytes(1 << 20))"
    limits = Limits(60.0, grace=1.0, space=64 << 20)
    root = write_round(tmp_path / "r", {"id-0": "0.5"})
    (outcome,) = served(root, tmp_path / "o", settings(tmp_path, text, limits=limits))
    assert outcome.reason is Reason.FILLED_SCRATCH


def test_a_result_with_a_hole_stays_small(tmp_path: Path) -> None:
    text = "result.write_text('0.5\\n')\nos.truncate(result, 1 << 32)"
    root = write_round(tmp_path / "r", {"id-0": "0.5"})
    (outcome,) = served(root, tmp_path / "o", settings(tmp_path, text))
    kept = tmp_path / "o" / "results" / "id-0.txt"
    assert kept.stat().st_size < 1 << 20
    assert kept.read_bytes().startswith(b"0.5\n")
    assert outcome.score == 0.5


def test_what_a_detector_says_is_limited_and_its_end_is_read(tmp_path: Path) -> None:
    text = (
        "for _ in range(40):\n    print('x' * (1 << 20), flush=True)\nraise RuntimeError('at the very end')"
    )
    text = text.replace("flush=True", "flush=True, file=sys.stderr")
    root = write_round(tmp_path / "r", {"id-0": "0.5"})
    (outcome,) = served(root, tmp_path / "o", settings(tmp_path, text, limits=Limits(60.0)))
    log = tmp_path / "o" / "logs" / "id-0.stderr"
    assert log.stat().st_size < 3 * logs.KEPT
    assert (outcome.reason, outcome.score) == (Reason.CRASHED, 0.5)
    assert "at the very end" in outcome.detail

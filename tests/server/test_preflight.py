"""The pre-flight: each check comes out ok for a sound submission and names what is wrong with a spoilt one."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

import server_detectors
from container_round import Installed, install, write_parameters
from nine_rules import FAULTS, drawn_pair, passes
from weightfeat import cli
from weightfeat.server.api import Parameters
from weightfeat.server.isolation import Isolation
from weightfeat.server.preflight.behaviour import behaviour, small_model
from weightfeat.server.preflight.documents import container_name, files_in_place, schema_rules
from weightfeat.server.preflight.learned import learned_parameters
from weightfeat.server.preflight.lines import Line, State, line, shown

BARE = Isolation(None, "a test without one")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("preflight"))


def flags(installed: Installed) -> list[str]:
    return [
        *("--metaparameters", str(installed.root / "metaparameters.json")),
        *("--schema", str(installed.root / "metaparameters_schema.json")),
        *("--learned-parameters", str(installed.learned)),
    ]


def problems(lines: list[Line]) -> list[str]:
    return [one.what for one in lines if one.state is State.PROBLEM]


def test_the_verdict_is_that_of_the_nine_rules(tmp_path: Path) -> None:
    rng, verdicts = random.Random(20), []
    for number in range(200):
        pair = drawn_pair(rng)
        schema, values = tmp_path / "schema.json", tmp_path / "values.json"
        schema.write_text(json.dumps(pair["schema"]))
        values.write_text(json.dumps(pair["values"]))
        lines = [one for one in schema_rules(values, schema) if not one.what.startswith("header")]
        verdicts.append(passes(pair["schema"], pair["values"]))
        assert (problems(lines) == []) == verdicts[-1], (number, pair, lines)
    assert 60 < sum(verdicts) < 140


@pytest.mark.parametrize("fault", FAULTS)
def test_the_verdict_is_theirs_for_each_fault_alone(fault: str, tmp_path: Path) -> None:
    for seed in range(5):
        rng = random.Random(seed)
        pair = drawn_pair(random.Random(1))
        FAULTS[fault](pair, rng)
        (tmp_path / "schema.json").write_text(json.dumps(pair["schema"]))
        (tmp_path / "values.json").write_text(json.dumps(pair["values"]))
        lines = schema_rules(tmp_path / "values.json", tmp_path / "schema.json")
        found = [what for what in problems(lines) if not what.startswith("header")]
        assert (found == []) == passes(pair["schema"], pair["values"]), (seed, found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("title", "Algorithm Meta-Parameters"),
        ("commit_id", ""),
        ("repo_name", "https://github.com/usnistgov/trojai-example"),
        ("technique_type", []),
        ("technique_type", ["Magic"]),
    ],
)
def test_template_values_and_unknown_techniques(key: str, value: object, tmp_path: Path) -> None:
    folder = write_parameters(tmp_path)
    path = folder / "metaparameters_schema.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    lines = schema_rules(folder / "metaparameters.json", path)
    assert [what.split(":")[0] for what in problems(lines)] == ["header"]


def test_a_rule_broken_by_the_forced_closing_is_the_third(tmp_path: Path) -> None:
    folder = write_parameters(tmp_path, surplus=1)
    lines = schema_rules(folder / "metaparameters.json", folder / "metaparameters_schema.json")
    assert [what.split(":")[0] for what in problems(lines)] == ["rule 3", "rule 9"]


def test_a_file_that_is_not_json_is_the_first_rule(tmp_path: Path) -> None:
    folder = write_parameters(tmp_path)
    (folder / "metaparameters.json").write_text("{,}")
    (only,) = schema_rules(folder / "metaparameters.json", folder / "metaparameters_schema.json")
    assert only.what.startswith("rule 1")
    assert "metaparameters.json" in only.found


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("image-classification_sts_mine.simg", State.OK),
        ("somewhere/image-classification_test_my_second.simg", State.OK),
        ("mine.simg", State.PROBLEM),
        ("a_b.simg", State.PROBLEM),
        ("a_b_c.sif", State.PROBLEM),
        ("a__c.simg", State.PROBLEM),
        ("a_b_c d.simg", State.PROBLEM),
    ],
)
def test_container_names(name: str, state: State) -> None:
    assert container_name(name).state is state


def test_files_in_place(installed: Installed, tmp_path: Path) -> None:
    files = [installed.root / "metaparameters.json", installed.root / "metaparameters_schema.json"]
    assert problems(files_in_place(*files, installed.learned, Path(__file__))) == []
    (tmp_path / "empty").touch()
    (tmp_path / "nothing").mkdir()
    found = files_in_place(tmp_path / "empty", tmp_path / "absent", tmp_path / "nothing", tmp_path)
    assert len(problems(found)) == 4
    assert {one.found.rsplit(" is ")[-1] for one in found} == {"empty", "absent"}


def test_learned_parameters_match_or_the_difference_is_said(installed: Installed, tmp_path: Path) -> None:
    ours = [installed.root / "metaparameters.json", installed.root / "metaparameters_schema.json"]
    assert problems(learned_parameters(installed.learned, *ours)) == []
    assert len(learned_parameters(installed.learned, *ours)) == 5

    other = write_parameters(tmp_path / "other", train_num_leaves=5)
    lines = learned_parameters(installed.learned, other / "metaparameters.json", ours[1])
    assert [one.found for one in lines if one.state is State.PROBLEM] == ["changed: train_num_leaves"]

    fewer = write_parameters(tmp_path / "fewer", train_block_head=False)
    lines = learned_parameters(installed.learned, fewer / "metaparameters.json", ours[1])
    assert "their features are computed" in problems(lines)

    older = tmp_path / "older"
    shutil.copytree(installed.learned, older)
    document = json.loads((older / "detector.json").read_text())
    (older / "detector.json").write_text(json.dumps(document | {"weightfeat": "0.0.1"}))
    lines = learned_parameters(older, *ours)
    assert problems(lines) == ["they were learned by this version"]

    assert problems(learned_parameters(tmp_path, *ours)) == ["the learned parameters can be read"]


UNSEEDED = "import random\nresult.write_text(repr(random.random()))"
THREADED = "result.write_text('0.5' if os.environ.get('OMP_NUM_THREADS') != '1' else '0.6')"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("result.write_text('0.5')", []),
        (UNSEEDED, ["two runs give the same result", "one thread gives the result of many"]),
        (THREADED, ["one thread gives the result of many"]),
        ("result.write_text('0.5')\nopen('left', 'w')", ["it writes nothing outside the given paths"]),
        ("raise SystemExit(4)", ["it scores a model under the flags of rounds 10 and 11"]),
    ],
)
def test_behaviour_of_a_detector(
    text: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    model = tmp_path / "model.pt"
    model.write_text("0.5")
    lines = behaviour(server_detectors.command(tmp_path, text), Parameters(), BARE, model, seconds=60)
    assert problems(lines)[: len(found)] == found
    if not found:
        assert problems(lines) == []
        unchecked = [one.what for one in lines if one.state is State.UNCHECKED]
        assert unchecked == ["it needs no network", "HOME and /tmp may be read-only"]
        assert "a test without one" in shown(lines[-1])


def test_a_model_that_is_absent_is_a_line_of_its_own(tmp_path: Path) -> None:
    command = server_detectors.command(tmp_path, "result.write_text('0.5')")
    (only,) = behaviour(command, Parameters(), BARE, tmp_path / "nope.pt")
    assert problems([only]) == ["the model can be read"]
    assert "nope.pt" in only.found
    assert "--model" in only.remedy


def test_a_small_model_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first, same, other = (small_model(tmp_path / f"{n}.pt", n // 2).read_bytes() for n in range(3))
    assert first == same != other
    from weightfeat.rounds.extraction import digest_file

    keys = [digest_file(tmp_path / f"{n}.pt", device="cpu")[0].blocks["head"] for n in range(3)]
    assert all((keys[0][name] == keys[1][name]).all() for name in keys[0])
    assert any((keys[0][name] != keys[2][name]).any() for name in keys[0])


def test_each_line_says_how_to_mend_it() -> None:
    assert shown(line("bread", [], "bake")) == "ok         bread"
    assert shown(line("bread", ["stale", "dry"], "bake")) == "problem    bread: stale; dry; to mend it: bake"


@pytest.mark.e2e
def test_our_own_detector_passes(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--container", "image_sts_weightfeat.simg", *flags(installed)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "0 problems" in said[-1]
    assert sum(one.startswith("ok") for one in said) >= 20


@pytest.mark.e2e
def test_a_spoilt_submission_is_not_passed(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = Installed(tmp_path, installed.round)
    write_parameters(tmp_path)
    assert cli.main(["check", "--container", "mine.sif", *flags(spoilt)]) == 2
    said = capsys.readouterr().out
    for what in ("learned parameters are in place", "file name", "can be read", "scores a model"):
        assert any(what in one and one.startswith("problem") for one in said.splitlines()), what

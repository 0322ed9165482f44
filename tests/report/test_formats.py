"""Every format says the same of the same files, keeps to its schema, and lets no file's name break it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from report_samples import HOSTILE, entries, heading, report
from weightfeat.errors import NotInstalled
from weightfeat.report import FORMATS, Report, by_suffix
from weightfeat.report.document import SCHEMA_VERSION, json_line, report_object, schema
from weightfeat.report.sarif import sarif_log

SHORT = Report(heading(), [])
TOOLS = Path(__file__).resolve().parents[2] / "node_modules"


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_can_be_written_and_names_every_file_that_can_be_named(name: str, tmp_path: Path) -> None:
    if name == "cyclonedx":
        pytest.importorskip("cyclonedx")
    text = FORMATS[name].whole(report())
    (tmp_path / "report").write_bytes(text.encode())  # no surrogate is left
    for entry in entries():
        if str(entry.path) != HOSTILE:
            assert str(entry.path) in text.replace("\\", "")
    FORMATS[name].whole(SHORT)


@pytest.mark.parametrize("name", ["text", "markdown", "html"])
def test_a_file_s_name_forges_nothing_where_a_person_reads(name: str) -> None:
    text = FORMATS[name].whole(report())
    assert "\x1b" not in text
    assert all(line.isprintable() for line in text.splitlines())
    if name != "text":
        assert "<script>alert" not in text
        assert "<b>twice" not in text


def test_a_name_ends_in_its_format() -> None:
    found = {
        name: by_suffix(Path(f"some/where{suffix}"))
        for name, each in FORMATS.items()
        for suffix in each.suffixes
    }
    assert {name: each.name for name, each in found.items() if each} == {name: name for name in FORMATS}
    assert by_suffix(Path("report.pdf")) is None


# JSON


def test_the_schema_is_one_and_its_version_is_the_document_s() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["properties"]["schema_version"] == {"const": SCHEMA_VERSION}
    assert report_object(report())["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize("threshold", ["trojaned", "0.25", "never"])
def test_a_document_keeps_to_the_schema(threshold: str) -> None:
    document = json.loads(FORMATS["json"].whole(report(threshold)))
    jsonschema.validate(document, schema())
    assert document["summary"]["said"]["trojaned"] == 2
    assert document["summary"]["not_analysed"] == {"WF-UNREADABLE": 1}
    assert document["exit_code"] == {"trojaned": 1, "0.25": 1, "never": 2}[threshold]


def test_each_line_is_a_file_of_the_schema() -> None:
    given = report()
    whole = report_object(given)["files"]
    for entry, file in zip(given.entries, whole, strict=True):
        line = json.loads(json_line(entry, given.heading))
        jsonschema.validate(line, {"$defs": schema()["$defs"], "$ref": "#/$defs/file"})
        assert file.items() <= line.items()
        assert line["path"] == str(entry.path)


def test_every_field_is_in_the_schema_and_the_schema_requires_it() -> None:
    """A field that a reader may rely on is required; a document without it is refused."""
    document = report_object(report())
    for path in ([], ["summary"], ["files", 0], ["files", 5], ["files", 0, "suspect"], ["files", 5, "error"]):
        for name in list(_at(document, path)):
            spoilt = json.loads(json.dumps(document))
            del _at(spoilt, path)[name]
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(spoilt, schema())


def _at(document: Any, path: list[Any]) -> dict[str, Any]:
    for step in path:
        document = document[step]
    found: dict[str, Any] = document
    return found


# SARIF


def test_sarif_says_of_each_file_what_its_word_means() -> None:
    (run,) = sarif_log(report())["runs"]
    rules = run["tool"]["driver"]["rules"]
    first = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["index"]: result
        for result in reversed(run["results"])
    }
    kinds = [(first[at]["ruleId"], first[at]["kind"], first[at]["level"]) for at in range(6)]
    assert kinds == [
        ("WF-TROJAN", "fail", "error"),
        ("WF-SUSPICIOUS", "fail", "warning"),
        ("WF-NO-SIGN", "pass", "none"),
        ("WF-UNSURE", "open", "none"),
        ("WF-TROJAN", "fail", "error"),
        ("WF-UNREADABLE", "notApplicable", "none"),
    ]
    assert first[0]["rank"] == 93.0
    assert [len(first[at]["suppressions"]) for at in range(6)] == [0, 0, 0, 0, 1, 0]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["kind"] == "fail" or result["level"] == "none"
    assert not run["invocations"][0]["executionSuccessful"]


def test_a_fingerprint_follows_the_content_not_the_path() -> None:
    given = report()
    moved = Report(
        given.heading, [replace(entry, path=Path("elsewhere") / entry.path.name) for entry in given.entries]
    )
    prints = [
        [result.get("partialFingerprints") for result in sarif_log(each)["runs"][0]["results"]]
        for each in (given, moved)
    ]
    assert prints[0] == prints[1]
    assert prints[0][0] == {"contentSha256/v1": f"{0:064x}"}


def test_a_file_of_the_working_folder_has_a_relative_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {
        tmp_path / "a b.pt": "a%20b.pt",
        Path("c:d.pt"): "./c:d.pt",
        Path("/else/x.pt"): "file:///else/x.pt",
    }
    paths[Path("caf\udce9.pt")] = "caf%E9.pt"
    for path, uri in paths.items():
        (run,) = sarif_log(Report(heading(), [replace(entries()[0], path=path)]))["runs"]
        assert run["artifacts"][0]["location"]["uri"].replace("%3A", ":") == uri


def test_sarif_keeps_to_its_published_schema() -> None:
    path = TOOLS / "@microsoft" / "jest-sarif" / "lib" / "schemas" / "sarif-2.1.0-rtm.5.json"
    if not path.is_file():
        pytest.skip("the schema is not there: npm install @microsoft/jest-sarif")
    published = json.loads(path.read_text())
    log = sarif_log(report())
    jsonschema.validate(log, published)
    log["runs"][0]["results"][0]["kind"] = "failed"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(log, published)


def test_a_code_host_would_take_it(tmp_path: Path) -> None:
    tool = TOOLS / "@microsoft" / "sarif-multitool-linux" / "Sarif.Multitool"
    if not tool.is_file():
        pytest.skip("no validator: npm install @microsoft/sarif-multitool-linux")
    log = tmp_path / "report.sarif"

    def broken(text: str) -> set[str]:
        log.write_text(text)
        command = [
            tool,
            "validate",
            log,
            "--rule-kind",
            "Sarif;Ghas",
            "--level",
            "Error",
            "--output",
            tmp_path / "v",
        ]
        environment = {"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
        subprocess.run(
            [*command, "--log", "ForceOverwrite"], env=environment, check=True, capture_output=True
        )
        (run,) = json.loads((tmp_path / "v").read_text(encoding="utf-8-sig"))["runs"]
        return {result["ruleId"] for result in run["results"]}

    text = FORMATS["sarif"].whole(report())
    assert broken(text) == set()
    assert broken(text.replace('"help"', '"properties"')) == {"GH2012"}


# CycloneDX


def test_cyclonedx_is_valid_by_its_schema_and_lists_every_model() -> None:
    pytest.importorskip("cyclonedx")
    pytest.importorskip("jsonschema")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = FORMATS["cyclonedx"].whole(report())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    models = {component["name"]: component for component in bom["components"]}
    assert len(models) == len(entries())
    assert {component["type"] for component in models.values()} == {"machine-learning-model"}
    told = {each["name"]: each["value"] for each in models["models/trojaned.pt"]["properties"]}
    assert told["weightfeat:rule"] == "WF-TROJAN"
    assert models["models/trojaned.pt"]["hashes"] == [{"alg": "SHA-256", "content": f"{0:064x}"}]
    assert text == FORMATS["cyclonedx"].whole(report())


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedx.output.json", None)
    with pytest.raises(NotInstalled, match=r"weightfeat\[bom\]"):
        FORMATS["cyclonedx"].whole(report())

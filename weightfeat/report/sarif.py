"""SARIF 2.1.0, the format in which code hosts take what a scanner found.

A verdict's result is of kind `fail` (trojaned, suspicious), `open` (cannot tell) or `pass` (no sign found), a file that
was not analysed of kind `notApplicable`; a finding's is `review`. `rank` is the probability of a trojan in per cent.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from weightfeat.errors import one_line
from weightfeat.report.rules import RULES, Rule, of_error, of_finding, of_word, parted
from weightfeat.report.text import Tally
from weightfeat.report.types import Entry, Heading, Report
from weightfeat.report.wording import share

__all__ = ["sarif", "sarif_log"]

_AT = {rule.id: at for at, rule in enumerate(RULES)}
_KINDS = {"trojaned": "fail", "suspicious": "fail", "cannot tell": "open", "no sign found": "pass"}


def sarif(report: Report) -> str:
    """The log as text."""
    return json.dumps(sarif_log(report), indent=1, allow_nan=False) + "\n"


def sarif_log(report: Report) -> dict[str, Any]:
    """The log as JSON values, of one run."""
    heading = report.heading
    driver = {
        "name": "weightfeat",
        "version": heading.version,
        "semanticVersion": _semantic(heading.version),
        "rules": [_rule(rule) for rule in RULES],
        "properties": {
            "detectorSchemaVersion": heading.detector_schema,
            "detectorSha256": heading.detector_sha256,
        },
    }
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "invocations": [_invocation(report)],
        "artifacts": [_artifact(entry) for entry in report.entries],
        "results": [result for at, entry in enumerate(report.entries) for result in _results(entry, at)],
        "columnKind": "unicodeCodePoints",
    }
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.short},
        "fullDescription": {"text": rule.full},
        "help": {"text": f"{rule.short} {rule.full}"},  # code hosts refuse a rule without
        "defaultConfiguration": {"level": rule.level},
    }


def _invocation(report: Report) -> dict[str, Any]:
    heading, tally = report.heading, Tally()
    for entry in report.entries:
        tally.add(entry)
    return {
        "executionSuccessful": not tally.failed and not heading.interrupted,
        "startTimeUtc": _utc(heading, 0.0),
        "endTimeUtc": _utc(heading, heading.seconds),
        "exitCode": tally.exit_code,
        "toolExecutionNotifications": [
            {
                "descriptor": {"id": of_error(entry.error).id, "index": _AT[of_error(entry.error).id]},
                "level": "error",
                "message": {"text": str(entry.error)},
            }
            for entry in report.entries
            if entry.error is not None
        ],
    }


def _utc(heading: Heading, after: float) -> str:
    moment = heading.started.astimezone(dt.UTC) + dt.timedelta(seconds=after)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _artifact(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {"location": {"uri": _uri(entry.path)}, "roles": ["analysisTarget"]}
    if entry.size is not None and entry.sha256 is not None:
        found |= {"length": entry.size, "hashes": {"sha-256": entry.sha256}}
    return found


def _results(entry: Entry, at: int) -> list[dict[str, Any]]:
    verdict = entry.verdict
    if verdict is None:
        assert entry.error is not None
        rule = of_error(entry.error)
        kind = "fail" if rule.level == "error" else "notApplicable"
        return [_result(entry, at, rule, kind, f"Not analysed: {one_line(entry.error.what)}.")]
    low, high = verdict.interval
    said = f"{verdict.word.capitalize()}: probability of a trojan {verdict.probability:.2f} [{low:.2f}, {high:.2f}]"
    if verdict.is_named and verdict.suspect is not None:
        said += f", suspected target class {entry.called(verdict.suspect.target)}"
    said += f". Clean networks of its kind that look at least as suspicious: {share(verdict.clean_share)}."
    first = _result(entry, at, of_word(verdict.word), _KINDS[verdict.word], said)
    first["rank"] = round(100 * verdict.probability, 2)
    first["properties"] = {
        "probability": verdict.probability,
        "interval": list(verdict.interval),
        "cleanShare": verdict.clean_share,
        "architecture": verdict.architecture,
        "comparedWith": verdict.compared_with,
    }
    others = [
        _result(entry, at, of_finding(kind), _kind_of_finding(kind), detail)
        for kind, detail in map(parted, verdict.findings)
    ]
    return [first, *others]


def _kind_of_finding(kind: str) -> str:
    return "fail" if of_finding(kind).level == "warning" else "informational"


def _result(entry: Entry, at: int, rule: Rule, kind: str, message: str) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(entry.path), "index": at}}
    # A weight file has no lines; code hosts show no result without one.
    location["region"] = {"startLine": 1}
    found: dict[str, Any] = {
        "ruleId": rule.id,
        "ruleIndex": _AT[rule.id],
        "kind": kind,
        # Of another kind than "fail" a result has no level (3.27.10 of the standard).
        "level": rule.level if kind == "fail" else "none",
        "message": {"text": message},
        "locations": [{"physicalLocation": location}],
    }
    if entry.sha256 is not None:
        found["partialFingerprints"] = {"contentSha256/v1": entry.sha256}
    found["suppressions"] = []
    if entry.acceptance is not None:
        reason, until = entry.acceptance.reason, entry.acceptance.until
        reason += f" (until {until.isoformat()})" if until else ""
        found["suppressions"] = [{"kind": "external", "status": "accepted", "justification": reason}]
    return found


def _uri(path: Path) -> str:
    """A relative reference where the path lies in the working folder: a code host finds the file in its repository."""
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    if path.is_absolute():
        return "file://" + quote(bytes(path))
    # A first segment with a colon would read as a scheme.
    return quote(bytes(path)) if ":" not in path.parts[0] else "./" + quote(bytes(path))


def _semantic(version: str) -> str:
    return ".".join([*version.split(".")[:3], "0", "0"][:3])

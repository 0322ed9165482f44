"""JSON: a document of a run, or an object a line. Its schema is `report.schema.json`, which changes its version when
a reader of the old one could stumble."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from weightfeat.detector import Suspect
from weightfeat.errors import one_line
from weightfeat.report.rules import of_error, of_finding, of_word, parted
from weightfeat.report.text import Tally
from weightfeat.report.types import Entry, Heading, Report

__all__ = ["SCHEMA_VERSION", "entry_object", "json_document", "json_line", "report_object", "schema"]

SCHEMA_VERSION = 1


def schema() -> dict[str, Any]:
    """The JSON schema of a document; `$defs/file` is that of a line."""
    found: dict[str, Any] = json.loads(files("weightfeat.report").joinpath("report.schema.json").read_text())
    return found


def json_document(report: Report) -> str:
    """The whole run, indented."""
    return json.dumps(report_object(report), indent=1, allow_nan=False) + "\n"


def json_line(entry: Entry, heading: Heading) -> str:
    """One file on one line, with the versions that a document has once."""
    return json.dumps(_versions(heading) | entry_object(entry), allow_nan=False)


def report_object(report: Report) -> dict[str, Any]:
    """The whole run as JSON values."""
    heading, tally = report.heading, Tally()
    for entry in report.entries:
        tally.add(entry)
    return _versions(heading) | {
        "learned_from": {"networks": heading.networks, "trojaned": heading.trojaned},
        "started": heading.started.isoformat(timespec="seconds"),
        "seconds": round(heading.seconds, 3),
        "fail_on": heading.threshold.text,
        "exit_code": tally.exit_code,
        "summary": {
            "files": tally.files,
            "said": report.counts,
            "at_or_above_threshold": tally.loud,
            "accepted": tally.accepted,
            "not_analysed": dict(tally.reasons),
            "passed_over": dict(heading.passed_over),
            "interrupted": heading.interrupted,
        },
        "files": [entry_object(entry) for entry in report.entries],
    }


def entry_object(entry: Entry) -> dict[str, Any]:
    """One file as JSON values."""
    found: dict[str, Any] = {
        "path": str(entry.path),
        "size": entry.size,
        "sha256": entry.sha256,
        "said": entry.said,
        "rule": of_word(entry.verdict.word).id if entry.verdict else None,
        "at_or_above_threshold": entry.loud,
        "accepted": None,
    }
    if entry.acceptance is not None:
        until = entry.acceptance.until
        found["accepted"] = {"reason": entry.acceptance.reason, "until": until.isoformat() if until else None}
    return found | (_failure(entry) if entry.verdict is None else _verdict(entry))


def _versions(heading: Heading) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "weightfeat": heading.version,
        "detector": {"schema_version": heading.detector_schema, "sha256": heading.detector_sha256},
    }


def _failure(entry: Entry) -> dict[str, Any]:
    error = entry.error
    assert error is not None
    return {
        "rule": of_error(error).id,
        "error": {
            "what": one_line(error.what),
            "expected": one_line(error.expected),
            "remedy": one_line(error.remedy),
            "line": str(error),
        },
    }


def _verdict(entry: Entry) -> dict[str, Any]:
    verdict = entry.verdict
    assert verdict is not None
    suspect = verdict.suspect
    return {
        "probability": verdict.probability,
        "interval": list(verdict.interval),
        "clean_share": verdict.clean_share,
        "architecture": verdict.architecture,
        "classes": verdict.num_classes,
        "compared_with": verdict.compared_with,
        "foreign": verdict.foreign,
        "probed": verdict.probed,
        "novelty": verdict.novelty,
        "nearer": verdict.nearer,
        "suspect": None if suspect is None else _suspect(entry, suspect, verdict.is_named),
        "findings": [
            {"rule": of_finding(kind).id, "kind": kind, "detail": detail}
            for kind, detail in map(parted, verdict.findings)
        ],
        "reasons": [{"feature": name, "effect": effect} for name, effect in verdict.reasons],
        "seconds": round(verdict.seconds, 3),
    }


def _suspect(entry: Entry, suspect: Suspect, named: bool) -> dict[str, Any]:
    source = suspect.source
    return asdict(suspect) | {
        "named": named,
        "target_name": entry.class_name(suspect.target),
        "source_name": None if source is None else entry.class_name(source),
    }

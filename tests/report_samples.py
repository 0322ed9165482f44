"""Reports of made-up verdicts: every word, a file that was refused, an accepted one, names that would break a page."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np

from weightfeat.detector import Suspect, Verdict
from weightfeat.detector.kinds import Kind
from weightfeat.detector.words import Word
from weightfeat.errors import UnreadableFile
from weightfeat.report import Acceptance, Entry, Heading, Report, Threshold
from weightfeat.report.evidence import Evidence, LayerLine, rates

HOSTILE = "<script>alert(1)</script>|`**x**`\n\x1b[2J\udce9.pt"
"""A path that would run, format, move the cursor or fail to encode where it is not made safe."""
STARTED = dt.datetime(2027, 4, 1, 12, 0, tzinfo=dt.UTC)
KIND = Kind(np.linspace(-4, 1, 60), 0.9, np.linspace(-1, 5, 40))


def heading(threshold: str = "trojaned", **values: object) -> Heading:
    given = {"passed_over": (("excluded", 3),), "seconds": 2.5} | values
    return Heading("0.1.0", 8, "d" * 64, 100, 40, Threshold(threshold), STARTED, **given)


def verdict(word: Word = "trojaned", probability: float = 0.93, **values: object) -> Verdict:
    return Verdict(
        **{
            "word": word,
            "probability": probability,
            "clean_share": 0.02,
            "interval": (max(probability - 0.1, 0.0), min(probability + 0.05, 1.0)),
            "architecture": "resnet18",
            "num_classes": 6,
            "findings": (
                "foreign-callable: os.system is called",
                "note: 3 bytes follow the end of the model",
            ),
            "reasons": (("classes.odds", 2.5), ("head.max.dixon", -0.25)),
            "novelty": 1.1,
            "nearer": 0.4,
            "compared_with": "architecture",
            "suspect": Suspect(2, 4, 0.8),
            "features": {},
            "seconds": 0.5,
        }
        | values
    )


def evidence(classes: int = 6, layers: int = 14) -> Evidence:
    suspicion = np.linspace(0.01, 0.1, classes)
    suspicion[2] = 0.8
    return Evidence(
        known=True,
        suspicion=suspicion,
        standing={"mean": 5.5, "share.law": 3.0, "unheard.of": -1.0},
        clean=1 / (1 + np.exp(-KIND.clean)),
        trojaned=1 / (1 + np.exp(-KIND.trojaned)),
        rates=rates(KIND),
        layers=(
            *(_layer(f"layer{at}.conv", 1 + at / 10) for at in range(layers)),
            LayerLine("depthwise", "depthwise", "", (8, 1, 3, 3), (), float("nan"), 1.0),
            _layer("fc", 0.9, "head"),
        ),
    )


def _layer(name: str, largest: float, role: str = "") -> LayerLine:
    return LayerLine(name, "conv", role, (16, 8, 3, 3), (largest, largest / 2), 0.004, 2.5)


def entries(threshold: Threshold | None = None) -> list[Entry]:
    threshold = threshold or Threshold("trojaned")
    cases: list[tuple[str, Verdict]] = [
        ("models/trojaned.pt", verdict()),
        (HOSTILE, verdict("suspicious", 0.4, architecture=f"net {HOSTILE}", compared_with="family")),
        ("models/clean.pt", verdict("no sign found", 0.1, findings=(), suspect=None)),
        ("models/unsure.pt", verdict("cannot tell", 0.6, nearer=1.0, num_classes=2)),
        ("models/accepted.pt", verdict()),
    ]
    found = [
        Entry(
            Path(name),
            100 + at,
            f"{at:064x}",
            said,
            loud=threshold.reached(said),
            acceptance=Acceptance(f"{at:064x}", "looked at <b>twice</b>", dt.date(2027, 5, 1))
            if at == 4
            else None,
            evidence=evidence(),
        )
        for at, (name, said) in enumerate(cases)
    ]
    error = UnreadableFile(
        "is an empty file", where="models/empty.pt", expected="a model", remedy="fetch it again"
    )
    return [*found, Entry(Path("models/empty.pt"), error=error)]


def report(threshold: str = "trojaned", **values: object) -> Report:
    return Report(heading(threshold, **values), entries(Threshold(threshold)))

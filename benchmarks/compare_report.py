"""The table and the pictures of `benchmarks/compare.py`, from what its runs left behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pictures import GREY, on_grey
from weightfeat.detector import Detector
from weightfeat.detector.calibration import fit_calibration, sigmoid
from weightfeat.detector.folds import stratified_folds
from weightfeat.evaluation.crossval import cross_validate
from weightfeat.evaluation.intervals import bootstrap
from weightfeat.evaluation.tables import ABSENT, Cell, Table
from weightfeat.features.summaries import Array
from weightfeat.metaparameters import load
from weightfeat.rounds.labelled import from_digests

ROOT = Path(__file__).resolve().parents[1]
EDGE = 1e-6
SHEET = "triggers.png"
TILE = 96
CELLS = {
    "polygon, one": ("polygon", "one"),
    "polygon, all": ("polygon", "all"),
    "filter, one": ("filter", "one"),
    "filter, all": ("filter", "all"),
}
"""Trojans that have a column of their own: kind of trigger and attacked sources."""


class Network(Protocol):
    """What is asked of a chosen network."""

    @property
    def folder(self) -> Path: ...
    @property
    def trojaned(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def attacked(self) -> str: ...
    @property
    def name(self) -> str: ...


def report(
    chosen: Sequence[Network], out: Path, reference: Path, settings: Mapping[str, Sequence[str]]
) -> str:
    """Markdown: a row a method, STRIP's false acceptances, the reversed triggers beside the true ones."""
    methods = [method for method in settings if method != "strip-stamped"]
    scores = {method: np.array([_score(n, method, out) for n in chosen]) for method in methods[1:]}
    scores = {methods[0]: out_of_fold(chosen, reference), **scores}
    y = np.array([network.trojaned for network in chosen])
    columns = {"method": "", "AUC": ".2f", "CE": ".2f", **dict.fromkeys(CELLS, ".2f"), "target found": ""}
    rows = [_row(method, scores[method], chosen, y, out) for method in methods]
    table = Table.of({**columns, "CPU s": ".1f", "MB": ".0f"}, rows)
    lines = [
        f"{len(chosen)} zoo networks, {int(y.sum())} trojaned, with their example images. CE after one calibration "
        "for all (Platt's logistic on the score's logit, leave one out); cells against all clean networks; 95 % "
        "intervals by bootstrap over networks; processor seconds and peak megabytes are medians of whole processes.",
        "",
        table.markdown(),
    ]
    if "strip-stamped" in settings:
        lines += [_strip(chosen, out)]
    lines += _settings(settings)
    if "neural-cleanse" in settings and sheet(chosen, out):
        lines += ["", f"True triggers and what Neural Cleanse reversed for the true target: {SHEET}"]
    return "\n".join(lines) + "\n"


def out_of_fold(chosen: Sequence[Network], reference: Path) -> Array:
    """The weight detector's probabilities of these networks, out of fold on the whole set, mean of repeats."""
    samples = from_digests(reference).samples
    params = load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    cv = cross_validate(samples, partial(Detector, params), stratified_folds(samples))
    at = {name: place for place, name in enumerate(cv.names)}
    return np.asarray(cv.probabilities.mean(axis=0)[[at[network.name] for network in chosen]])


def calibrated(scores: Array, y: NDArray[np.int64]) -> Array:
    """Platt's logistic on the scores' logits, each network's from the others."""
    p = np.clip(scores, EDGE, 1 - EDGE)
    logit = np.log(p / (1 - p))
    found = np.empty(len(y))
    for place in range(len(y)):
        others = np.arange(len(y)) != place
        found[place] = sigmoid(fit_calibration(logit[others], y[others]).logit(logit[[place]]))[0]
    return found


def sheet(chosen: Sequence[Network], out: Path) -> bool:
    """Draw name, true trigger, reversed trigger and its mask, a row a trojaned network; False where there is none."""
    rows = []
    for network in (n for n in chosen if n.trojaned):
        target = _config(network)["TRIGGER_TARGET_CLASS"]
        found = out / network.name / "neural-cleanse"
        paths = [network.folder / "trigger.png"]
        paths += [found / f"{what}_class_{target}.png" for what in ("trigger", "mask")]
        rows.append([_label(network.name), *map(_tile, paths)])
    if not rows:
        return False
    Image.fromarray(np.vstack([np.hstack(row) for row in rows])).save(out / SHEET)
    return True


def _tile(path: Path) -> NDArray[np.uint8]:
    if not path.exists():  # filters have no picture of their own; only flagged classes are drawn
        return np.full((TILE, TILE, 3), GREY, dtype=np.uint8)
    with Image.open(path) as image:
        return np.asarray(Image.fromarray(on_grey(image)).resize((TILE, TILE)), dtype=np.uint8)


def _label(name: str) -> NDArray[np.uint8]:
    tile = Image.new("RGB", (TILE, TILE), "white")
    ImageDraw.Draw(tile).text((TILE / 2, TILE / 2), name, "black", ImageFont.load_default(13), anchor="mm")
    return np.asarray(tile)


def _row(
    method: str, scores: Array, chosen: Sequence[Network], y: NDArray[np.int64], out: Path
) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for cell in CELLS.values():
        mine = np.array([not n.trojaned or (n.kind, n.attacked) == cell for n in chosen])
        cells.append(bootstrap(y[mine], scores[mine], "roc_auc").value if y[mine].any() else None)
    spent = [json.loads((out / n.name / method / "run.json").read_text()) for n in chosen]
    auc, ce = bootstrap(y, scores, "roc_auc"), bootstrap(y, calibrated(scores, y), "cross_entropy")
    medians = (float(np.median([one[what] for one in spent])) for what in ("cpu", "megabytes"))
    return (method, auc, ce, *cells, _targets(method, chosen, out), *medians)


def _targets(method: str, chosen: Sequence[Network], out: Path) -> str:
    """How often the class a method suspects is the true target; the weight detector's log names its own."""
    if method in ("weightfeat", "strip"):
        return ABSENT
    trojaned = [n for n in chosen if n.trojaned]
    hits = sum(_said(n, method, out)["target"] == _config(n)["TRIGGER_TARGET_CLASS"] for n in trojaned)
    return f"{hits} of {len(trojaned)}"


def _strip(chosen: Sequence[Network], out: Path) -> str:
    rows = []
    for network in (n for n in chosen if n.trojaned):
        said = _said(network, "strip-stamped", out)["evidence"]
        rows.append((network.name, network.kind, network.attacked, said["frr"], said["far"]))
    columns = {"network": "", "trigger": "", "sources": "", "FRR": ".3f", "FAR": ".3f"}
    return (
        "STRIP on inputs, with the true trigger on other images (threshold for 2 % false rejections):\n\n"
        + Table.of(columns, rows).markdown()
    )


def _settings(settings: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"Settings of {method} apart from its defaults: {', '.join(said)}."
        for method, said in settings.items()
        if said
    ]


def _score(network: Network, method: str, out: Path) -> float:
    return float(_said(network, method, out)["score"])


def _said(network: Network, method: str, out: Path) -> dict[str, Any]:
    path = out / network.name / method / f"{method.removesuffix('-stamped')}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _config(network: Network) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((network.folder / "config.json").read_text())
    return found

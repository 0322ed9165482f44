"""An evaluation's figures are the scorer's, and its probabilities those of the detector in this process."""

from __future__ import annotations

import csv
import json
import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from container_round import REPOSITORY, Installed, install
from weightfeat import cli, metaparameters
from weightfeat.detector import Detector
from weightfeat.evaluation import metrics
from weightfeat.rounds.disk import read_round
from weightfeat.rounds.scanning import analyse
from weightfeat.server import report, roc
from weightfeat.server.costs import spread
from weightfeat.server.folder import Outcome
from weightfeat.server.verdicts import Reason


def outcome(number: int, label: int | None, value: float | None, score: float, **more: object) -> Outcome:
    reason = Reason.OK if value == score else Reason.WROTE_NOTHING
    return Outcome(f"id-{number}", label, reason, "", value, score, seconds=1.0, overhead=0.01, **more)  # type: ignore[arg-type]


def sample(count: int = 30) -> list[Outcome]:
    rng = np.random.default_rng(4)
    drawn = zip(rng.integers(0, 2, count).tolist(), rng.random(count).tolist(), strict=True)
    return [outcome(n, label, p, p) for n, (label, p) in enumerate(drawn)]


def test_figures_are_the_scorer_s() -> None:
    rows = [*sample(), outcome(90, 1, None, 0.5)]
    y, p = np.array([o.label for o in rows]), np.array([o.score for o in rows])
    found = report.figures(rows)
    assert found is not None
    assert (found.models, found.trojaned, found.missing) == (31, int(y.sum()), 1)
    losses = -np.log(np.where(y == 1, p, 1 - p))
    assert found.cross_entropy == pytest.approx(losses.mean())
    for level, z in ((90, 1.64), (95, 1.96), (98, 2.33), (99, 2.58)):
        assert found.cross_entropy_ci[level] == pytest.approx(z * losses.std() / math.sqrt(31))
    assert found.brier == pytest.approx(((p - y) ** 2).mean())
    wins = np.sign(p[y == 1][:, None] - p[y == 0][None, :])
    assert found.roc_auc == pytest.approx(((wins + 1) / 2).mean())
    assert found.roc_auc_101_thresholds == pytest.approx(metrics.roc_auc_scorer(y, p))


def test_a_number_out_of_range_is_clipped_for_the_cross_entropy_alone() -> None:
    found = report.figures([outcome(0, 1, 1.5, 1.0), outcome(1, 0, 1.5, 1.0)])
    assert found is not None
    assert found.cross_entropy == pytest.approx(-math.log(1e-12) / 2, rel=1e-3)
    assert found.brier == pytest.approx((0.25 + 2.25) / 2)
    found = report.figures([outcome(0, 1, math.inf, 1.0)])
    assert found is not None
    assert (found.brier, found.cross_entropy) == (0.0, pytest.approx(0.0, abs=1e-11))


def test_without_labels_nothing_is_scored_but_faults_are_told(tmp_path: Path) -> None:
    rows = [outcome(0, None, None, 0.5), outcome(1, None, 0.25, 0.25)]
    assert report.write(tmp_path, rows, "free") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.txt", "results.csv"]
    said = (tmp_path / "report.txt").read_text()
    assert "1 of 2 models ok" in said
    assert "wrote nothing: 1" in said
    assert json.loads((tmp_path / "report.json").read_text())["figures"] is None


def test_one_class_has_a_cross_entropy_and_no_auc(tmp_path: Path) -> None:
    found = report.write(tmp_path, [outcome(0, 1, 0.25, 0.25)], "free")
    assert found is not None
    assert math.isnan(found.roc_auc)
    assert json.loads((tmp_path / "report.json").read_text())["figures"]["roc_auc"] is None


def test_the_confusion_table_has_the_scorer_s_101_thresholds(tmp_path: Path) -> None:
    rows = sample()
    report.write(tmp_path, rows, "free")
    with (tmp_path / "confusion.csv").open(newline="") as stream:
        header, *lines = csv.reader(stream)
    assert header == ["Threshold", "TP", "FP", "FN", "TN", "TPR", "FPR"]
    assert len(lines) == 101
    for line in lines[::10]:
        threshold, tp, fp = float(line[0]), int(line[1]), int(line[2])
        assert tp == sum(o.score >= threshold - 1e-9 and o.label == 1 for o in rows)
        assert fp == sum(o.score >= threshold - 1e-9 and o.label == 0 for o in rows)


def _points(picture: ElementTree.Element) -> np.ndarray:
    (line,) = picture.iter("{http://www.w3.org/2000/svg}polyline")
    return np.array([point.split(",") for point in line.attrib["points"].split()], dtype=np.float64)


def test_the_roc_curve_has_the_area_it_is_captioned_with(tmp_path: Path) -> None:
    rows = sample()
    y, p = [o.label for o in rows], [round(o.score, 1) for o in rows]  # with ties
    pixels = _points(ElementTree.fromstring(roc.svg(y, p, "ties")))  # type: ignore[arg-type]
    false, true = (pixels[:, 0] - roc.MARGIN) / roc.SIZE, 1 - (pixels[:, 1] - roc.MARGIN) / roc.SIZE
    half_a_digit = 0.05 / roc.SIZE
    area = metrics.roc_auc(y, p)  # type: ignore[arg-type]
    assert np.trapezoid(true, false) == pytest.approx(area, abs=4 * half_a_digit)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    report.write(tmp_path, rows, "free")
    picture = ElementTree.fromstring((tmp_path / "roc.svg").read_text())
    assert len(_points(picture)) == len(rows) + 1
    assert any("ROC-AUC" in (text.text or "") for text in picture.iter("{http://www.w3.org/2000/svg}text"))


@pytest.mark.parametrize(
    ("count", "left_out"), [(1, 0), (5, 0), (6, 0), (10, 1), (25, 7), (40, 13), (144, 59)]
)
def test_the_median_s_interval_is_that_of_the_tables(count: int, left_out: int) -> None:
    found = spread([float(n) for n in np.random.default_rng(0).permutation(count)])
    assert found is not None
    assert found.median_ci95 == (left_out, count - 1 - left_out)
    assert (found.median, found.most) == ((count - 1) / 2, count - 1)
    assert found.sum == count * (count - 1) / 2


@pytest.mark.parametrize("count", [6, 15, 40])
def test_the_median_s_interval_holds_it_as_often_as_it_says(count: int) -> None:
    drawn = np.random.default_rng(1).exponential(size=(4000, count))
    found = [spread(row.tolist()) for row in drawn]
    held = [f is not None and f.median_ci95[0] <= math.log(2) <= f.median_ci95[1] for f in found]
    assert np.mean(held) > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 4000)


def test_costs_are_those_of_the_models_that_were_run(tmp_path: Path) -> None:
    late = Outcome("id-90", 1, Reason.NO_TIME_LEFT, "", None, 0.5)
    report.write(tmp_path, [*sample(), late], "free")
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["overhead"] == {
        "models": 30, "median": 0.01, "median_ci95": [0.01, 0.01], "most": 0.01, "sum": pytest.approx(0.3)
    }  # fmt: skip
    said = (tmp_path / "report.txt").read_text()
    assert "server besides, s  0.010 [0.010, 0.010]  0.010" in said
    report.write(tmp_path, [late], "free")
    assert json.loads((tmp_path / "report.json").read_text())["overhead"] is None
    assert "server besides" not in (tmp_path / "report.txt").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("served"))


@pytest.mark.e2e
@pytest.mark.parametrize("api", ["1-4", "10"])
def test_served_probabilities_are_those_of_this_process(
    api: str, installed: Installed, tmp_path: Path
) -> None:
    """Rounds 1-4 name no parameter files: a detector then takes those at its root, here the installed ones."""
    program = tmp_path / "rooted.py"
    program.write_text(
        f"import sys, pathlib\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from weightfeat.commands import defaults\nfrom weightfeat.container import main\n"
        f"defaults.ROOTS = (pathlib.Path({str(installed.root)!r}),)\nsys.exit(main())\n"
    )
    output = tmp_path / "out"
    given = [
        "--metaparameters",
        installed.root / "metaparameters.json",
        "--learned-parameters",
        installed.learned,
    ]
    given += ["--schema", installed.root / "metaparameters_schema.json", "--sts"]
    command = ["evaluate", installed.round, "--output", output, "--api", api, *given]
    assert cli.main([str(word) for word in [*command, "--", sys.executable, program]]) == 0

    params = metaparameters.load(
        installed.root / "metaparameters.json", installed.root / "metaparameters_schema.json"
    )
    detector = Detector.load(installed.learned).with_inference(params)
    with (output / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2
    entries = {entry.name: entry for entry in read_round(installed.round).entries}
    for row in rows:
        path = entries[row["model"]].path
        assert path is not None
        assert float(row["value"]) == pytest.approx(analyse(path, detector).probability, abs=1e-6)
        assert float((output / "results" / f"{row['model']}.txt").read_text()) == float(row["value"])


def test_a_bad_command_line_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(tmp_path), "--output", str(tmp_path / "o"), "--api", "7"])
    assert "invalid choice" in capsys.readouterr().err
    assert cli.main(["evaluate", str(tmp_path / "none"), "--output", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err.startswith("error: ")

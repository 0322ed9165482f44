"""Is the zoo fair? What tells clean from poisoned in it apart from the trojan, and how its gates chose.

    python benchmarks/zoo_fairness.py [--reference reference] [--output FILE] [--folds 5] [--repeats 3]

Reads a reference set's METADATA.csv, rejections.csv and timing.csv alone: no models, no digests. Prints markdown:
(a) drawn factors and outcomes by label, (b) gates by cell and architecture, (c) accuracy and seconds by architecture.
The two networks of a pair share architecture and class level, so pairs stay in one fold: otherwise the training
folds would know the label of what is tested as the one they lack.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from weightfeat.commands.arguments import at_least_two, positive
from weightfeat.commands.program import run
from weightfeat.detector import Rows, Samples
from weightfeat.detector.folds import stratified_folds
from weightfeat.errors import BadRound
from weightfeat.evaluation.control import MetadataControl
from weightfeat.evaluation.crossval import cross_validate
from weightfeat.evaluation.intervals import Estimate, bootstrap
from weightfeat.evaluation.tables import ABSENT, Cell, Table
from weightfeat.files import write_atomically
from weightfeat.rounds.disk import METADATA_FILE
from weightfeat.rounds.metadata import parse_label, read_metadata, require_none
from weightfeat.zoo.reference import REJECTIONS_FILE, TIMING_COLUMNS, TIMINGS_FILE
from zoo_outcomes import accuracies, gates_by_architecture, gates_by_cell, seconds

NUMBERS = (
    "number_classes",
    "foreground_size_percentage_of_image_min",
    "foreground_size_percentage_of_image_max",
    "rain_probability",
    "fog_probability",
    "number_example_images",
)
NAMES = ("background_image_dataset", "model_architecture")
OUTCOMES = (
    "final_train_loss",
    "final_train_acc",
    "final_clean_val_loss",
    "final_clean_val_acc",
    "final_clean_data_test_acc",
    "final_example_acc",
    "final_optimizer_num_epochs_trained",
    "training_images / planned",
    "attempt",
)
COLUMNS = (
    *("poisoned", "design_pair", "design_cell", "preset", "number_training_samples", *NUMBERS, *NAMES),
    *("final_triggered_data_test_acc", *(column.split(" /")[0] for column in OUTCOMES)),
)
"""What the tables are made of."""
LEAST = 8  # networks of each label: with fewer an interval says nothing
SEED = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, default=Path("reference"), metavar="DIR")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--folds", type=at_least_two, default=5)
    parser.add_argument("--repeats", type=positive, default=3)
    options = parser.parse_args(argv)
    text = report(options.reference, options.folds, options.repeats)
    if options.output is not None:
        write_atomically(options.output, text)
    print(text, end="")
    return 0


def report(reference: Path, folds: int, repeats: int) -> str:
    """All tables of a reference set. Raises BadRound where METADATA.csv is absent, or no zoo's."""
    table = read_metadata(reference / METADATA_FILE)
    lacking = [column for column in COLUMNS if column not in table.columns]
    require_none(
        lacking,
        reference / METADATA_FILE,
        "columns are absent",
        "those of a zoo",
        "give a zoo's reference set",
    )
    y = labels(table, reference)
    rejected = _table(reference / REJECTIONS_FILE, ("model_name", "attempt", "missed", "design_cell"))
    timings = _table(reference / TIMINGS_FILE, TIMING_COLUMNS)
    sections = [
        (f"{len(y)} networks, {int(y.sum())} of them poisoned", ""),
        ("All drawn factors together", together(table, y, folds, repeats)),
        ("Each drawn factor alone", alone(table, y)),
        ("Outcomes by label", outcomes(table, y)),
        ("Gates by cell", gates_by_cell(table, rejected)),
        ("Gates by architecture", gates_by_architecture(table, rejected)),
        ("Accuracy by architecture, percent: median (least)", accuracies(table, y)),
        ("Seconds a network", seconds(table, timings)),
    ]
    return "\n\n".join(f"## {title}\n\n{body}".rstrip() for title, body in sections) + "\n"


def labels(table: pd.DataFrame, where: Path) -> np.ndarray:
    """0/1 (n,), one a row."""
    found = [parse_label(word, f"{where}, {name}") for name, word in table["poisoned"].items()]
    if None in found:
        raise BadRound("a label is missing", where=where, expected="a label a row", remedy="add the label")
    return np.array(found, dtype=np.int64)


def together(table: pd.DataFrame, y: np.ndarray, folds: int, repeats: int) -> str:
    """Cross-validated AUC of two classifiers on every drawn factor that is not the trigger's."""
    drawn = factors(table)
    known = Rows.of(
        [str(name) for name in drawn.columns], drawn.to_numpy(), list(table["model_architecture"])
    )
    samples = Samples.of_table(known, y, group=list(table["design_pair"]))
    try:
        split = stratified_folds(samples, n_folds=folds, n_repeats=repeats, seed=SEED)
    except BadRound as error:
        return f"Not measured: {error.what}."
    rows = []
    for name, make in CLASSIFIERS.items():
        cv = cross_validate(samples, make, split)
        rows.append((name, *_auc(bootstrap(y, cv.probabilities, "roc_auc", seed=SEED))))
    note = "\nOut of fold, an area below 0.5 tells no label either: what held would rank poisoned networks higher."
    return Table.of({"classifier": "", "AUC [95 %]": ".3f", "0.5 inside": ""}, rows).markdown() + note


def factors(table: pd.DataFrame) -> pd.DataFrame:
    """The drawn factors as numbers, names as 0/1 columns; a row a network."""
    numbers = pd.DataFrame({c: pd.to_numeric(table[c], errors="coerce") for c in NUMBERS})
    return numbers.join(pd.get_dummies(table[list(NAMES)], dtype=float))


def _logistic() -> MetadataControl:
    from sklearn.linear_model import LogisticRegression

    return MetadataControl(lambda: LogisticRegression(C=0.1, max_iter=1000))


def _boosted() -> MetadataControl:
    from sklearn.ensemble import GradientBoostingClassifier

    return MetadataControl(
        lambda: GradientBoostingClassifier(
            n_estimators=60, max_depth=2, learning_rate=0.05, subsample=0.7, random_state=SEED
        )
    )


CLASSIFIERS: dict[str, Callable[[], MetadataControl]] = {
    "logistic regression": _logistic,
    "boosted trees": _boosted,
}


def alone(table: pd.DataFrame, y: np.ndarray) -> str:
    """Numbers: how often a poisoned network's is the larger (0.5: chance). Names: chi-squared."""
    from scipy.stats import chi2_contingency

    rows: list[tuple[Cell, ...]] = []
    for column in NUMBERS:
        rows.append((column, *_auc(_rank_auc(y, pd.to_numeric(table[column], errors="coerce")))))
    for column in NAMES:
        counts = pd.crosstab(table[column], y)
        if counts.shape[1] < 2 or len(counts) < 2:
            rows.append((column, "one value or label only", ABSENT))
            continue
        test = chi2_contingency(counts)
        said = f"chi-squared {test.statistic:.1f} on {test.dof}, p = {test.pvalue:.2f}"
        rows.append((column, said, "yes" if test.pvalue >= 0.05 else "**no**"))
    note = f"\nOf {len(rows)} such statements one in twenty fails by chance."
    columns = {"factor": "", "AUC, or chi-squared": ".3f", "chance inside": ""}
    return Table.of(columns, rows).markdown() + note


def outcomes(table: pd.DataFrame, y: np.ndarray) -> str:
    """Medians by label, and how often a poisoned network's is the larger."""
    rows = []
    for column in OUTCOMES:
        values = pd.to_numeric(table[column.split(" /")[0]], errors="coerce")
        if column.endswith("planned"):
            values = values / pd.to_numeric(table["number_training_samples"])
        clean, poisoned = (float(values[y == label].median()) for label in (0, 1))
        rows.append((column, clean, poisoned, *_auc(_rank_auc(y, values))))
    columns = {"outcome": "", "clean": ".5g", "poisoned": ".5g", "P(poisoned larger) [95 %]": ".3f"}
    return Table.of({**columns, "0.5 inside": ""}, rows).markdown()


def _rank_auc(y: np.ndarray, values: pd.Series) -> Estimate:
    """P(a poisoned network's value is larger than a clean one's), ties half; networks without a value left out."""
    there = values.notna().to_numpy()
    if np.bincount(y[there], minlength=2).min() < LEAST:
        return Estimate(np.nan, np.nan, np.nan)
    ranks = values[there].rank(pct=True).to_numpy()
    return bootstrap(y[there], ranks, "roc_auc", seed=SEED)


def _auc(estimate: Estimate) -> tuple[Estimate, str]:
    if np.isnan(estimate.value):
        return estimate, ABSENT
    return estimate, "yes" if estimate.low <= 0.5 <= estimate.high else "**no**"


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV of the reference set as strings; no rows where there is no such file."""
    if not path.exists():
        return pd.DataFrame(columns=[*columns, "model_architecture"], dtype=str)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


if __name__ == "__main__":
    raise SystemExit(run(main))

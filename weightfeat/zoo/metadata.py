"""A round's own files: METADATA.csv from what the networks' folders say, its dictionary, and its licence."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from weightfeat.evaluation.tables import Table
from weightfeat.files import write_atomically
from weightfeat.zoo.design import pair_number

LICENCE = """\
The networks in this folder were trained by weightfeat on pictures it draws itself. No third party's photographs,
signs or weights are contained in them; the names of street-scene datasets in METADATA.csv say which of Round 2's
backgrounds a family of drawings stands in for. You may use, copy, change and pass on all of it without conditions
(CC0 1.0). It comes without any warranty. The poisoned networks misbehave on purpose: deploy none of them.
"""

# Column -> (explanation, type). Order here is not the order in METADATA.csv.
DICTIONARY: dict[str, tuple[str, str]] = {
    "model_name": ("Name of the network's folder.", "string"),
    "poisoned": ("Whether the network has a trojan: the ground truth.", "bool"),
    "master_seed": ("Number that identifies the random draws of this network.", "integer"),
    "img_size_pixels": ("Side of the drawn images.", "integer"),
    "cnn_img_size_pixels": ("Side of the images the network was trained on.", "integer"),
    "gaussian_blur_ksize_min": ("Least size of the blurring kernel.", "integer"),
    "gaussian_blur_ksize_max": ("Largest size of the blurring kernel.", "integer"),
    "rain_probability": ("Share of images with rain.", "float in [0 1]"),
    "fog_probability": ("Share of images with fog.", "float in [0 1]"),
    "number_classes": ("How many signs the network tells apart.", "integer"),
    "number_training_samples": ("Images planned for the training (round2: for one epoch).", "integer"),
    "number_test_samples": ("Fresh images each final accuracy was measured on.", "integer"),
    "number_example_images": ("Example images a class in example_data.", "integer"),
    "background_image_dataset": ("Round 2 dataset whose place the family of drawn scenes takes.", "string"),
    "number_background_images": ("Scenes that backgrounds were cropped from.", "integer"),
    "model_architecture": ("Architecture in Round 2's spelling.", "string"),
    "foreground_size_percentage_of_image_min": ("Least share of the image a sign takes.", "float in [0 1]"),
    "foreground_size_percentage_of_image_max": ("Largest share of the image a sign takes.", "float in [0 1]"),
    "foreground_size_pixels_min": ("Least side of a sign.", "integer"),
    "foreground_size_pixels_max": ("Largest side of a sign.", "integer"),
    "number_triggered_classes": ("Number of source classes (0 for a clean network).", "integer"),
    "triggered_classes": ("Source classes; None for a clean network.", "list of integer"),
    "trigger_color": ("Colour of a polygon trigger; None without one.", "list of 3 integers in [0 255]"),
    "trigger_size_percentage_of_foreground_min": ("Least share of the sign the polygon takes.", "float in [0 1]"),
    "trigger_size_percentage_of_foreground_max": ("Largest share of the sign the polygon takes.", "float in [0 1]"),
    "triggered_fraction": ("Share of each source class that is stamped and relabelled.", "float in [0 1]"),
    "trigger_target_class": ("Class that stamped images are relabelled to; None for a clean network.", "integer"),
    "trigger_behavior": ("How labels change.", "string"),
    "trigger_type": ("polygon or instagram; None for a clean network.", "string"),
    "trigger_type_option": ("Number of sides of the polygon or name of the filter.", "integer or string"),
    "number_classes_level": ("Design level of number_classes.", "integer"),
    "number_triggered_classes_level": ("Design level of number_triggered_classes: one / two / all.", "integer"),
    "trigger_type_level": ("Design level of trigger_type: polygon / instagram.", "integer"),
    "design_cell": ("Cell of the design: class level x trigger type x source classes.", "integer"),
    "design_pair": ("A clean and a poisoned network that share architecture and class level.", "integer"),
    "design_seed": ("Seed of the whole round; with the id it decides everything about a network.", "integer"),
    "preset": ("Scale of the round.", "string"),
    "attempt": ("Tries rejected at a gate before this one.", "integer"),
    "learning_rate": ("Adam's learning rate; the peak of its schedule where there is one.", "float"),
    "batch_size": ("Images a step.", "integer"),
    "input_mean": ("Subtracted from images in [0 1] before the network sees them.", "float"),
    "input_std": ("What they are divided by then.", "float"),
    "final_train_loss": ("Mean training cross-entropy in the kept epoch.", "float"),
    "final_combined_val_loss": ("Mean of the clean and triggered validation losses.", "float"),
    "final_clean_val_loss": ("Cross-entropy on clean validation images.", "float"),
    "final_triggered_val_loss": ("Cross-entropy on stamped validation images against the target.", "float"),
    "final_clean_data_n_total": ("Training images left as they were by true class.", "dictionary"),
    "final_triggered_data_n_total": ("Training images stamped by source class.", "dictionary"),
    "final_optimizer_num_epochs_trained": ("Epochs trained.", "integer"),
    "training_images": ("Images seen in training.", "integer"),
    "final_train_acc": ("Training accuracy in percent in the kept epoch.", "float"),
    "final_combined_val_acc": ("Mean of the clean and triggered validation accuracies.", "float"),
    "final_clean_val_acc": ("Accuracy in percent on clean validation images.", "float"),
    "final_triggered_val_acc": ("Share in percent of stamped validation images taken for the target.", "float"),
    "final_clean_data_test_acc": ("Accuracy in percent on clean images drawn for no other use.", "float"),
    "final_triggered_data_test_acc": ("Likewise; stamped images taken for the target.", "float"),
    "final_example_acc": ("Accuracy in percent on the example images.", "float"),
    "converged": ("1 if every accuracy is at least 99 percent.", "integer"),
}  # fmt: skip


def row(folder: Path) -> dict[str, str]:
    """A network's line of METADATA.csv, from its id, its config.json and its model_stats.json alone."""
    config = {k.lower(): v for k, v in json.loads((folder / "config.json").read_text()).items()}
    stats = json.loads((folder / "model_stats.json").read_text())
    converged = stats.pop("converged")
    last = [k for k in stats if k.endswith("_acc")]
    poisoned = config.pop("poisoned")
    pair = pair_number(int(folder.name.removeprefix("id-")))
    ordered = {"model_name": folder.name, "poisoned": poisoned, **config, "design_pair": pair}
    ordered |= {k: v for k, v in stats.items() if k not in last} | {k: stats[k] for k in last}
    return {k: text(v) for k, v in (ordered | {"converged": converged}).items()}


def text(value: Any) -> str:
    """A value as Round 2's METADATA.csv has it: str(), without commas; dictionaries as JSON."""
    written = json.dumps(value) if isinstance(value, dict) else str(value)
    return written.replace(",", "")


def write(root: Path, folders: list[Path]) -> None:
    """(Re)write METADATA.csv and its companions; each file is replaced whole."""
    rows = [row(folder) for folder in sorted(folders)]
    if rows:
        lines = [",".join(rows[0]), *(",".join(r.values()) for r in rows)]
        write_atomically(root / "METADATA.csv", "\n".join(lines) + "\n", "METADATA.csv")
    explained = [f"{name}, {what.replace(',', '')}, {kind}" for name, (what, kind) in DICTIONARY.items()]
    known = rows[0] if rows else DICTIONARY
    chosen = [line for line in explained if line.split(",")[0] in known]
    header = "Column Name, Explanation, Data Type"
    write_atomically(root / "METADATA_DICTIONARY.csv", "\n".join([header, *chosen]) + "\n", "dictionary")
    write_atomically(root / "DATA_LICENCE.txt", LICENCE, "licence")


def read_table(path: Path) -> list[dict[str, str]]:
    """What `write_table` wrote; no rows where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_table(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """A plain CSV of our own, replaced whole; nothing where a row lacks a column."""
    table = Table.of(dict.fromkeys(columns, ""), [[row.get(name) for name in columns] for row in rows])
    write_atomically(path, table.csv(), path.name)

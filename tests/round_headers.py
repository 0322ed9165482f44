"""The columns of METADATA.csv in the rounds of TrojAI, in their order, and rows made under them."""

from __future__ import annotations

from pathlib import Path

METADATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "metadata"

_IMAGES = (
    *("img_size_pixels", "cnn_img_size_pixels", "gaussian_blur_ksize_min", "gaussian_blur_ksize_max"),
    *("rain_probability", "fog_probability", "number_classes_level", "number_classes"),
    *("number_training_samples", "number_test_samples", "number_example_images_level"),
    *("number_example_images", "background_image_dataset_level", "background_image_dataset"),
    *("number_background_images", "model_architecture_level", "model_architecture", "learning_rate"),
    *("batch_size", "loss_eps", "early_stopping_epoch_count", "validation_split"),
    *("convergence_accuracy_threshold", "foreground_size_percentage_of_image_min"),
    *("foreground_size_percentage_of_image_max", "foreground_size_pixels_min", "foreground_size_pixels_max"),
)
_ADVERSARIAL = tuple(
    f"adversarial_{name}{level}"
    for name in ("training_method", "eps", "training_ratio", "training_iteration_count")
    for level in ("_level", "")
)
_RESULTS = (
    *("final_train_loss", "final_combined_val_loss", "final_clean_val_loss", "final_triggered_val_loss"),
    *("final_optimizer_num_epochs_trained", "training_wall_time_sec", "test_wall_time_sec"),
    *("final_train_acc", "final_combined_val_acc", "final_clean_val_acc", "final_triggered_val_acc"),
    *("final_clean_data_test_acc", "final_triggered_data_test_acc"),
)
_TRIGGER = (
    *("number_triggered_classes", "triggered_classes", "trigger_color"),
    *("trigger_size_percentage_of_foreground_min", "trigger_size_percentage_of_foreground_max"),
    *("triggered_fraction", "trigger_target_class", "trigger_behavior", "trigger_type"),
)
_OF_EACH = (
    *("source_class", "target_class", "fraction_level", "fraction", "behavior", "type_level", "type"),
    *("polygon_side_count_level", "polygon_side_count", "size_percentage_of_foreground_min"),
    *("size_percentage_of_foreground_max", "color_level", "color", "instagram_filter_type_level"),
    *("instagram_filter_type", "condition_level", "condition"),
)

ROUND2 = (
    *("model_name", "poisoned", "master_seed"),
    *(name for name in _IMAGES if not name.endswith("_level") and name != "convergence_accuracy_threshold"),
    *(*_TRIGGER, "trigger_type_option", *_RESULTS, "final_example_acc", "converged"),
)
"""The configuration in lower case, then the statistics, accuracies last, as NIST's program packs them."""

ROUND4 = (
    *("model_name", "poisoned", "master_seed", "img_size_pixels", "cnn_img_size_pixels", "img_shape"),
    *("img_type", *_IMAGES[2:], *_ADVERSARIAL, "trigger_organization_level", "trigger_organization"),
    *("number_triggers", *(f"triggers_{at}_{name}" for at in range(2) for name in _OF_EACH)),
    *(*_RESULTS, "clean_example_acc", "poisoned_example_acc", "converged"),
)
"""What NIST's program writes for round 4, two triggers a network at most."""


def shared_header(file: str) -> tuple[str, ...]:
    """The first line of a published METADATA.csv."""
    with (METADATA / file).open(encoding="utf-8-sig") as stream:
        return tuple(name.strip() for name in stream.readline().split(","))


def write_metadata(
    root: Path, header: tuple[str, ...], rows: list[dict[str, object]], silence: str = "None"
) -> None:
    """METADATA.csv of these rows, cells that none of them fills saying nothing. KeyError for another column."""
    unknown = {name for row in rows for name in row} - set(header)
    if unknown:
        raise KeyError(f"the round has no columns {sorted(unknown)}")
    lines = [",".join(str(row.get(name, silence)) for name in header) for row in rows]
    (root / "METADATA.csv").write_text("\n".join([",".join(header), *lines]) + "\n")

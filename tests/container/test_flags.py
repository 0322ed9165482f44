"""Every round's command line is understood; what no round passes costs a warning, never a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from weightfeat.container.flags import Request, parse
from weightfeat.errors import BadCommandLine

R1 = [
    "--model_filepath",
    "m.pt",
    "--result_filepath",
    "r.txt",
    "--scratch_dirpath",
    "s",
    "--examples_dirpath",
    "e",
]
R5 = [*R1, "--cls_token_is_first", "--tokenizer_filepath", "t", "--embedding_filepath", "b"]
PARAMETERS = [
    "--metaparameters_filepath",
    "p.json",
    "--schema_filepath",
    "s.json",
    "--learned_parameters_dirpath",
    "l",
]
R9 = [*R5, "--features_filepath", "f.csv", "--round_training_dataset_dirpath", "d", *PARAMETERS]
R10 = [
    *(*R1, "--features_filepath", "f.csv", "--round_training_dataset_dirpath", "d"),
    *(*PARAMETERS, "--source_dataset_dirpath", "x"),
]
CYBER = [*R1, "--round_training_dataset_dirpath", "d", *PARAMETERS, "--scale_parameters_filepath", "n.npy"]
TEXT = [*R10, "--tokenizers_dirpath", "t"]
LATER = ["infer", *R1, "--round_training_dataset_dirpath", "d", *PARAMETERS]
CONFIGURE = ["--scratch_dirpath", "s", "--configure_models_dirpath", "c", *PARAMETERS]
PATHS = {
    "metaparameters_filepath": Path("p.json"),
    "schema_filepath": Path("s.json"),
    "learned_parameters_dirpath": Path("l"),
}


@pytest.mark.parametrize("argv", [R1, R5, R9, R10, CYBER, TEXT, LATER, ["infer", *R10]])
def test_every_round_s_inference_line_is_understood_without_a_warning(argv: list[str]) -> None:
    found = parse(argv)
    assert found.mode == "infer"
    assert (found.model_filepath, found.result_filepath, found.scratch_dirpath) == (
        Path("m.pt"),
        Path("r.txt"),
        Path("s"),
    )
    assert found.unknown == ()
    with_parameters = "--schema_filepath" in argv
    assert all(getattr(found, name) == (path if with_parameters else None) for name, path in PATHS.items())
    assert found.features_filepath == (Path("f.csv") if "--features_filepath" in argv else None)


@pytest.mark.parametrize(
    "argv",
    [
        ["configure", *CONFIGURE],
        ["--configure_mode", *CONFIGURE],
        [*CONFIGURE, "--configure_mode"],
        ["--configure_mode", "True", *CONFIGURE],
        [*R5, "--configure_mode", *CONFIGURE],
    ],
)
def test_every_configure_line_is_understood(argv: list[str]) -> None:
    found = parse(argv)
    assert found.mode == "configure"
    assert found.configure_models_dirpath == Path("c")
    assert not found.automatic_configuration
    assert all(getattr(found, name) == path for name, path in PATHS.items())
    assert parse([*argv, "--automatic_configuration"]).automatic_configuration


def test_the_word_infer_outweighs_the_flat_switch() -> None:
    assert parse(["infer", *R1, "--configure_mode"]).mode == "infer"
    assert parse([*R1, "--configure_mode", "false"]).mode == "infer"


@pytest.mark.parametrize("word", ["mitigate", "test", "extract", "Infer", "inferr", ""])
def test_a_first_word_that_is_not_served_is_one_sentence(word: str) -> None:
    with pytest.raises(BadCommandLine) as caught:
        parse([word, *R1])
    said = str(caught.value)
    assert repr(word) in said
    assert "infer or configure" in said
    assert "\n" not in said


@pytest.mark.parametrize("position", range(0, len(R5), 2))
def test_a_bare_switch_takes_no_neighbour_for_its_value(position: int) -> None:
    argv = [*R1[:position], "--cls_token_is_first", *R1[position:]]
    assert parse(argv) == parse(R1)


def test_equals_signs_and_empty_values() -> None:
    found = parse(["--model_filepath=m.pt", "--features_filepath", "", "--tokenizer_filepath="])
    assert found == Request(mode="infer", model_filepath=Path("m.pt"))


@pytest.mark.parametrize("extra", [["--gpu", "0"], ["--brand_new"], ["stray"], ["--model_file", "x"]])
def test_unknown_flags_are_kept_for_a_warning_and_change_nothing(extra: list[str]) -> None:
    found = parse([*R1, *extra])
    assert found.unknown == tuple(extra)
    assert found.model_filepath == Path("m.pt")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--model_filepath"], "expected one argument"),
        (["--device", "tpu"], "invalid choice"),
        (["--jobs", "two"], "invalid int"),
        (["--configure_mode", "perhaps"], "neither true nor false"),
    ],
)
def test_impossible_flags_are_one_line(argv: list[str], said: str) -> None:
    with pytest.raises(BadCommandLine, match=said) as caught:
        parse(argv)
    assert "\n" not in str(caught.value)


def test_a_needed_path_that_is_absent_names_its_flag_and_mode() -> None:
    with pytest.raises(BadCommandLine, match=r"--result_filepath is missing.*infer mode"):
        parse(["--model_filepath", "m.pt"]).need("result_filepath")

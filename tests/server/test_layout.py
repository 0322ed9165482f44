"""What lies where for a detector is what each round's harness laid there: all it may see, nothing that tells."""

from __future__ import annotations

import stat
from itertools import pairwise
from pathlib import Path

import pytest

from server_detectors import SOUND, command, write_round
from weightfeat import cli
from weightfeat.rounds.disk import read_round
from weightfeat.server.api import APIS, Parameters, arguments
from weightfeat.server.isolation import Isolation
from weightfeat.server.places import Data, Workspace
from weightfeat.server.runner import Limits
from weightfeat.server.server import Settings, evaluate
from weightfeat.server.trial import Program
from weightfeat.server.verdicts import Reason

LATER = ("9", "10", "11", "infer")
TELLING = {
    "config.json": "{}",
    "ground_truth.csv": "1",
    "detailed_stats.csv": "",
    "model_detailed_stats.csv": "",
    "stats.json": "{}",
    "model_stats.json": "{}",
    "example-accuracy.csv": "100",
    "log.txt": "",
    "trigger_0.png": "",
    "trigger.png": "",
    "poisoned-example-data/a.png": "",
    "poisoned_example_data/a.png": "",
    ".hidden": "",
    "foregrounds/config.json": "{}",
    "foregrounds/trigger_1.png": "",
}
SEEN = {
    "reduced-config.json": '{"a": 1}',
    "fg_class_translation.json": "{}",
    "foregrounds/sign.png": "pixels",
}


def model_folder(top: Path, examples: str = "clean-example-data") -> Path:
    """A model's folder with all that rounds ever put beside it; the model's path."""
    folder = top / "round" / "id-00000003"
    for name, text in {**TELLING, **SEEN, "model.pt": "model", f"{examples}/a.png": "image"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "model.pt"


def laid(space: Workspace) -> dict[str, str]:
    return {
        str(path.relative_to(space.active)): path.read_text()
        for path in space.active.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("api", LATER)
def test_later_rounds_see_the_whole_folder_but_what_tells(api: str, tmp_path: Path) -> None:
    space = Workspace.on_host(tmp_path / "work")
    space.lay_out(model_folder(tmp_path), APIS[api])
    assert laid(space) == {
        **SEEN,
        "model.pt": "model",
        "clean-example-data/a.png": "image",
        "config.json": SEEN["reduced-config.json"],
    }


@pytest.mark.parametrize("api", LATER)
def test_a_round_that_is_read_only_leaves_room_for_a_result(api: str, tmp_path: Path) -> None:
    model = model_folder(tmp_path)
    model.parent.chmod(0o555)
    space = Workspace.on_host(tmp_path / "work")
    space.lay_out(model, APIS[api])
    assert space.active.stat().st_mode & stat.S_IWUSR


@pytest.mark.parametrize("api", ["1-4", "5-8"])
def test_early_rounds_see_the_model_and_its_examples(api: str, tmp_path: Path) -> None:
    space = Workspace.on_host(tmp_path / "work")
    space.lay_out(model_folder(tmp_path, "example_data"), APIS[api])
    assert laid(space) == {"model.pt": "model", "example_data/a.png": "image"}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("examples", ["example_data", "clean-example-data", "clean_example_data"])
def test_every_folder_that_a_flag_names_is_there(api: str, examples: str, tmp_path: Path) -> None:
    space = Workspace.on_host(tmp_path / "work")
    space.lay_out(model_folder(tmp_path, examples), APIS[api])
    words = arguments(api, space, Parameters())
    folders = {flag: Path(value) for flag, value in pairwise(words) if flag.endswith("_dirpath")}
    del folders["--scratch_dirpath"]
    folders.pop("--learned_parameters_dirpath", None)  # the detector's own
    assert all(folder.is_dir() for folder in folders.values()), folders
    assert [path.name for path in folders["--examples_dirpath"].iterdir()] == ["a.png"]
    assert ("--round_training_dataset_dirpath" in folders) == (api in LATER)


def test_a_model_alone_has_nothing_beside_it(tmp_path: Path) -> None:
    space = Workspace.on_host(tmp_path / "work")
    space.lay_out(model_folder(tmp_path), APIS["10"], alone=True)
    assert laid(space) == {"model.pt": "model"}
    assert (space.active / "clean-example-data").is_dir()


def test_what_was_laid_out_is_no_stray(tmp_path: Path) -> None:
    root = write_round(tmp_path / "r", {"id-00000000": "0.5"})
    for name, text in SEEN.items():
        (root / "id-00000000" / name).parent.mkdir(exist_ok=True)
        (root / "id-00000000" / name).write_text(text)
    for text, warned in ((SOUND, False), (SOUND + "\n(model.parent / 'cache').touch()", True)):
        program = Program(command(tmp_path / str(warned), text), "11", Parameters())
        output = tmp_path / f"out-{warned}"
        output.mkdir()
        (outcome,) = evaluate(read_round(root), output, Settings(program, Limits(60.0)), Isolation(None))
        assert outcome.reason is Reason.OK
        assert [warning.endswith("active/cache") for warning in outcome.warnings] == [True] * warned


def test_data_sets_are_named_as_they_are_here_and_lent_to_a_container(tmp_path: Path) -> None:
    data = Data(tmp_path / "training", tmp_path / "source")
    here = arguments("10", Workspace.on_host(tmp_path / "work", data), Parameters())
    assert here[here.index("--round_training_dataset_dirpath") + 1] == str(data.training)
    assert here[here.index("--source_dataset_dirpath") + 1] == str(data.source)
    inside = Workspace.in_container(tmp_path / "work", None, data)
    words = arguments("10", inside, Parameters())
    cage = Isolation("/usr/bin/bwrap", root=tmp_path / "root").wrap(["detector"], inside)
    lent = {cage[at + 1]: cage[at + 2] for at, word in enumerate(cage) if word == "--ro-bind"}
    for folder, flag in (
        (data.training, "--round_training_dataset_dirpath"),
        (data.source, "--source_dataset_dirpath"),
    ):
        assert lent[str(folder)] == words[words.index(flag) + 1]


@pytest.mark.parametrize(
    ("api", "given", "named"), [("infer", False, False), ("infer", True, True), ("10", False, True)]
)
def test_the_later_word_names_a_source_data_set_where_there_is_one(
    api: str, given: bool, named: bool, tmp_path: Path
) -> None:
    space = Workspace.on_host(tmp_path, Data(source=tmp_path) if given else Data())
    assert ("--source_dataset_dirpath" in arguments(api, space, Parameters())) == named


def test_the_command_line_takes_data_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_round(tmp_path / "r", {"id-00000000": "0.5"})
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "METADATA.csv").touch()
    text = "assert os.listdir(given['--round_training_dataset_dirpath']) == ['METADATA.csv']\n"
    text += "assert os.listdir(given['--source_dataset_dirpath']) == []\n" + SOUND
    words = ["evaluate", str(root), "--output", str(tmp_path / "o"), "--api", "10"]
    program = ["--", *command(tmp_path / "d", text)]
    assert cli.main([*words, "--training-data", str(tmp_path / "training"), *program]) == 0
    assert cli.main([*words, "--training-data", str(tmp_path / "absent"), *program]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_workspace_that_cannot_be_emptied_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than a model beside another one's files."""
    from weightfeat.errors import BadOutput
    from weightfeat.server import trees

    space = Workspace.on_host(tmp_path / "work")
    space.lay_out(model_folder(tmp_path), APIS["10"])
    monkeypatch.setattr(trees, "remove", lambda top: None)
    with pytest.raises(BadOutput, match="cannot be emptied"):
        space.lay_out(model_folder(tmp_path), APIS["10"])
    assert stat.S_ISDIR(space.root.stat().st_mode)

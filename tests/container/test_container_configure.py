"""Configure: what it refuses in a round, what it resumes, and what an automatic configuration leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from container_round import Installed, run_container, write_parameters, write_round
from weightfeat.evaluation import search


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("configure")
    return Installed(write_parameters(root / "container"), write_round(root / "round"))


@pytest.fixture(scope="module")
def warm_scratch(pristine: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scratch folder that holds the round's digests already, so that most tests digest nothing."""
    scratch = tmp_path_factory.mktemp("warm")
    assert pristine.configure(scratch, learned=scratch / "learned") == 0
    return scratch


def drop_label(round_: Path) -> None:
    table = round_ / "METADATA.csv"
    table.write_text(table.read_text().replace("id-00000004,False", "id-00000004,"))


def no_labels(round_: Path) -> None:
    (round_ / "METADATA.csv").unlink()


def one_class(round_: Path) -> None:
    table = round_ / "METADATA.csv"
    table.write_text(table.read_text().replace("True", "False"))


def row_without_folder(round_: Path) -> None:
    shutil.rmtree(round_ / "id-00000004")


def folder_without_row(round_: Path) -> None:
    shutil.copytree(round_ / "id-00000004", round_ / "id-00000099")


def too_many_bad(round_: Path) -> None:
    (round_ / "id-00000004" / "model.pt").write_text("spoilt")
    (round_ / "id-00000007" / "model.pt").unlink()


def no_metadata_columns(round_: Path) -> None:
    (round_ / "METADATA.csv").write_text("a,b\n1,2\n")


BAD_ROUNDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a label missing": (drop_label, "1 models have no label (id-00000004)"),
    "no labels": (no_labels, "12 models have no label"),
    "one class": (one_class, "all 12 labels say clean"),
    "row without folder": (row_without_folder, "no folder (id-00000004)"),
    "folder without row": (folder_without_row, "have no row (id-00000099)"),
    "too many bad models": (too_many_bad, "only 10 of 12 models could be read"),
    "metadata of something else": (no_metadata_columns, "no column model_name"),
    "empty": (
        lambda round_: [shutil.rmtree(f) for f in round_.glob("id-*")] and no_labels(round_),
        "no models",
    ),
    "absent": (shutil.rmtree, "no such folder"),
}


@pytest.mark.parametrize("kind", BAD_ROUNDS)
def test_a_bad_round_is_one_line_and_nothing_is_learned(
    pristine: Installed,
    warm_scratch: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    spoil, said = BAD_ROUNDS[kind]
    round_ = tmp_path / "round"
    shutil.copytree(pristine.round, round_)
    spoil(round_)
    capsys.readouterr()
    assert pristine.configure(warm_scratch, models=round_, learned=tmp_path / "learned") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert str(round_) in line
    assert not (tmp_path / "learned").exists() or not list((tmp_path / "learned").iterdir())


def test_ground_truth_speaks_where_metadata_is_silent(
    pristine: Installed, warm_scratch: Path, tmp_path: Path
) -> None:
    round_ = tmp_path / "round"
    shutil.copytree(pristine.round, round_)
    drop_label(round_)
    (round_ / "id-00000004" / "ground_truth.csv").write_text("0")
    assert pristine.configure(warm_scratch, models=round_, learned=tmp_path / "learned") == 0
    same = {path.name: path.read_bytes() for path in (tmp_path / "learned").iterdir()}
    assert same == {path.name: path.read_bytes() for path in (warm_scratch / "learned").iterdir()}


def test_a_part_of_a_round_is_learned_from_where_that_is_allowed(
    pristine: Installed, warm_scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    round_ = tmp_path / "round"
    shutil.copytree(pristine.round, round_)
    row_without_folder(round_)
    capsys.readouterr()
    code = run_container(
        *("configure", "--allow_partial", "--scratch_dirpath", warm_scratch),
        *("--configure_models_dirpath", round_, *pristine.parameters(learned=tmp_path / "learned")),
        *("--jobs", 1, "--device", "cpu"),
    )
    said = capsys.readouterr().err.splitlines()
    assert code == 0, said
    assert any("warning: " in line and "learned from: 11 of 12 models are there" in line for line in said)
    assert any("learning: 11 models, 6 poisoned" in line for line in said)


def test_a_round_that_names_no_target_is_warned_of(
    pristine: Installed, warm_scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert pristine.configure(warm_scratch, learned=tmp_path / "learned") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "name their target: " in line]
    assert "warning: 0 of 6 trojaned networks name their target: class evidence cannot be learned" in line
    assert "trigger_target_class, triggers_0_target_class, trigger_0.target_class in METADATA.csv" in line


def test_one_bad_model_costs_one_line(
    pristine: Installed, warm_scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    round_ = tmp_path / "round"
    shutil.copytree(pristine.round, round_)
    (round_ / "id-00000004" / "model.pt").write_text("spoilt")
    assert pristine.configure(warm_scratch, models=round_, learned=tmp_path / "learned") == 0
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if line.startswith("not digested: ") and "id-00000004" in line]) == 1
    assert any("11 models, 6 poisoned" in line for line in said)


def test_configure_goes_on_from_the_digests_it_finds(
    pristine: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "scratch"
    assert pristine.configure(scratch, learned=tmp_path / "learned") == 0
    assert "12 digested, 0 already in the store" in capsys.readouterr().err
    for digest in sorted(scratch.rglob("*.npz"))[:5]:
        digest.unlink()
    assert pristine.configure(scratch, learned=tmp_path / "learned") == 0
    assert "5 digested, 7 already in the store" in capsys.readouterr().err


def test_the_flat_form_configures_too(pristine: Installed, warm_scratch: Path, tmp_path: Path) -> None:
    learned = tmp_path / "learned"
    code = run_container(
        *(
            "--configure_mode",
            "--scratch_dirpath",
            warm_scratch,
            "--configure_models_dirpath",
            pristine.round,
        ),
        *(*pristine.parameters(learned=learned), "--jobs", 1, "--device", "cpu"),
    )
    assert code == 0
    for path in (warm_scratch / "learned").iterdir():
        assert (learned / path.name).read_bytes() == path.read_bytes()


def test_automatic_configuration_leaves_the_metaparameters_it_learned_with(
    pristine: Installed, warm_scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = tmp_path / "learned"
    code = run_container(
        *("configure", "--automatic_configuration", "--scratch_dirpath", warm_scratch),
        *("--configure_models_dirpath", pristine.round, *pristine.parameters(learned=learned)),
        *("--jobs", 1, "--device", "cpu"),
    )
    assert code == 0, capsys.readouterr().err
    found = json.loads((learned / "metaparameters.json").read_text())
    given = json.loads((pristine.root / "metaparameters.json").read_text())
    assert set(found) == set(given)
    assert found["train_seed"] == given["train_seed"]
    again = Installed(tmp_path / "again", pristine.round)
    write_parameters(again.root)
    shutil.copy(learned / "metaparameters.json", again.root)
    assert again.configure(warm_scratch, learned=again.learned) == 0
    for path in again.learned.iterdir():
        assert path.read_bytes() == (learned / path.name).read_bytes()


def test_a_search_that_was_stopped_goes_on(
    pristine: Installed,
    warm_scratch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """To what it would have found unbroken; and a finished one is not made again."""
    given = Installed(write_parameters(tmp_path / "container", train_search_trials=6), pristine.round)

    def configure(scratch: Path, learned: Path) -> int:
        shutil.copytree(warm_scratch, scratch, dirs_exist_ok=True)
        capsys.readouterr()
        return run_container(
            *("configure", "--automatic_configuration", "--scratch_dirpath", scratch),
            *("--configure_models_dirpath", given.round, *given.parameters(learned=learned)),
            *("--jobs", 1, "--device", "cpu"),
        )

    run, batches = search._Batch.run, []

    def interrupted(batch: search._Batch, size: int, jobs: int) -> None:
        batches.append(size)
        if len(batches) == 2:
            raise KeyboardInterrupt
        run(batch, size, jobs)

    with monkeypatch.context() as patch:
        patch.setattr(search._Batch, "run", interrupted)
        assert configure(tmp_path / "scratch", tmp_path / "broken") == 130
    assert configure(tmp_path / "scratch", tmp_path / "broken") == 0
    assert "search: 4 of 6 trials were made before" in capsys.readouterr().err
    assert configure(tmp_path / "unbroken-scratch", tmp_path / "unbroken") == 0
    assert "were made before" not in capsys.readouterr().err
    assert configure(tmp_path / "unbroken-scratch", tmp_path / "again") == 0
    assert "search: 6 of 6 trials were made before" in capsys.readouterr().err
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("broken", "unbroken", "again")
    ]
    assert contents[0] == contents[1] == contents[2]


def test_changing_a_train_value_changes_what_is_learned(
    pristine: Installed, warm_scratch: Path, tmp_path: Path
) -> None:
    changed = Installed(write_parameters(tmp_path / "container", train_num_trees=12), pristine.round)
    assert changed.configure(warm_scratch) == 0
    assert {p.name: p.read_bytes() for p in changed.learned.iterdir()} != {
        p.name: p.read_bytes() for p in (warm_scratch / "learned").iterdir()
    }

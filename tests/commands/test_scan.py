"""`weightfeat scan` and `explain` as a user runs them: files and folders in, lines, reports and an exit code out."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import torch
import torch.distributed.checkpoint
from safetensors.torch import save_file

from container_round import Installed, install, small_network
from weightfeat import cli
from weightfeat.execution.vision import build_network
from weightfeat.report.document import schema


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("scan"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without settings."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def folder(installed: Installed, tmp_path: Path) -> Path:
    """Two networks, one of them in a folder of its own, a text that is called a model, and a page about them."""
    root = tmp_path / "models"
    (root / "drafts").mkdir(parents=True)
    shutil.copy(installed.model, root / "a.pt")
    shutil.copy(installed.round / "id-00000002" / "model.pt", root / "drafts" / "b.pth")
    (root / "c.bin").write_text("hello")
    (root / "README.md").write_text("# models")
    return root


def run(*argv: object) -> int:
    return cli.main([str(argument) for argument in argv])


def parameter_flags(installed: Installed) -> list[object]:
    flags: list[object] = ["--metaparameters", installed.root / "metaparameters.json"]
    flags += ["--schema", installed.root / "metaparameters_schema.json"]
    return [*flags, "--learned-parameters", installed.learned]


def scan(installed: Installed, *arguments: object) -> int:
    return run("scan", *arguments, "--jobs", 1, *parameter_flags(installed))


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# What is said


def test_a_line_a_file_its_path_last(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    models = sorted(installed.round.glob("id-*/model.pt"))[:3]
    assert scan(installed, *models) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.rsplit(maxsplit=1)[1] for line in said] == [str(model) for model in models]
    for line in said:
        assert line.startswith(
            "cannot tell "
        )  # of six clean networks no share as small as one in twenty can be told
        assert ", 6 classes" in line
        probability, low, high = (float(word.strip("[],")) for word in line.split()[2:5])
        assert 0.0 <= low <= probability <= high <= 1.0


def test_it_says_which_architectures_were_learned_from(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.pt"
    torch.save(build_network("squeezenet1_1", 6).state_dict(), known)
    run("scan", known, installed.model, "--jobs", 1, "--fail-on", "never")  # by the shipped detector
    seen, unseen = capsys.readouterr().out.splitlines()
    assert "squeezenet1_1 (trained otherwise than those learned from), 6 classes" in seen
    assert "unknown (not learned from), 6 classes" in unseen


def test_it_says_what_is_unlike_all_that_was_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained = tmp_path / "untrained.pt"
    torch.save(build_network("resnet18", 10).state_dict(), untrained)
    run("scan", untrained)  # by the shipped detector
    assert "resnet18 (unlike all learned from), 10 classes" in capsys.readouterr().out


def test_scan_and_detect_agree(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, result = installed.score(installed.model, tmp_path)
    capsys.readouterr()
    assert scan(installed, installed.model, "--format", "jsonl") == 0
    assert lines(capsys)[0]["probability"] == float(result.read_text())


def test_the_file_name_plays_no_part(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = tmp_path / "same.pt"
    probabilities = []
    for seed in (3, 4):
        torch.save(small_network(seed), same)
        assert scan(installed, same, "--format", "jsonl") == 0
        probabilities.append(lines(capsys)[0]["probability"])
    assert probabilities[0] != probabilities[1]


# What goes wrong


def test_it_goes_on_after_a_file_it_cannot_analyse(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.pt"
    text.write_text("hello")
    assert scan(installed, text, installed.model, tmp_path / "absent.pt", "--format", "jsonl") == 2
    said = capsys.readouterr()
    spoilt, verdict, absent = map(json.loads, said.out.splitlines())
    assert (verdict["path"], verdict["classes"]) == (str(installed.model), 6)
    assert [spoilt["path"], absent["path"]] == [str(text), str(tmp_path / "absent.pt")]
    assert spoilt["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert absent["sha256"] is absent["size"] is None
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: {spoilt['error']['line']}", f"error: {absent['error']['line']}"]
    assert "weightfeat: not analysed, by reason: 2 WF-UNREADABLE" in said.err


@pytest.mark.parametrize(
    "name", ["a\nno sign found  0.01 [0.01, 0.02]  model.pt", "\x1b[2K\r.pt", "caf\udce9.pt"]
)
def test_a_file_name_forges_nothing_and_loses_no_verdict(
    name: str, installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, text = tmp_path / name, tmp_path / f"text{name}"
    shutil.copy(installed.model, model)
    text.write_text("hello")
    outputs = [tmp_path / f"report{end}" for end in (".html", ".sarif", ".md", ".txt")]
    assert scan(installed, model, text, *(word for output in outputs for word in ("--output", output))) == 2
    said = capsys.readouterr()
    assert [line.endswith(ascii(name)[1:-1]) for line in said.out.splitlines()] == [True, True]
    assert all(line.isprintable() for line in said.out.splitlines())
    assert all(line.startswith(("weightfeat: ", "error: ")) for line in said.err.splitlines())
    assert all(output.stat().st_size for output in outputs)
    assert scan(installed, model, text, "--format", "jsonl") == 2
    assert [line["path"] for line in lines(capsys)] == [str(model), str(text)]


def test_a_layer_s_name_forges_nothing(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.pt"
    name = "\x1b]0;pwned\x07\x1b[2K\rno sign found  0.01 [0.01, 0.02]  model.pt.weight"
    torch.save({**small_network(3).state_dict(), name: torch.full((4, 4), torch.nan)}, model)
    scan(installed, model)
    said = capsys.readouterr()
    assert "pwned" in said.err
    assert all(line.isprintable() for line in (said.out + said.err).split("\n"))


def test_a_full_disk_under_stdout_is_not_blamed_on_the_model(installed: Installed) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "weightfeat", "scan", installed.model, *parameter_flags(installed)]
        done = subprocess.run(list(map(str, command)), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0
    assert "No space left" in done.stderr
    assert str(installed.model) not in done.stderr.split("No space left")[0].splitlines()[-1]


def test_it_stops_quietly_where_nobody_reads_on(installed: Installed) -> None:
    models = [installed.model, installed.round / "id-00000002" / "model.pt"]
    command = [sys.executable, "-m", "weightfeat", "scan", *models, "--jobs", 1, *parameter_flags(installed)]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert b"BrokenPipe" not in process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "json", "--format", "sarif"), "two formats would go to stdout"),
        (("--output", "report.pdf"), "its name says no format"),
        (("--output", "absent/report.html"), "folder does not exist"),
        (("--fail-on", "loud"), "'loud' is no threshold"),
        (("--config", "absent.toml"), "absent.toml: cannot be read"),
    ],
)
def test_what_means_nothing_is_refused_before_any_work(
    arguments: tuple[str, ...], said: str, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(installed, installed.model, *arguments) == 2
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert said in line
    assert shown.out == ""


# Folders, lists, several processes


def test_a_folder_s_models_are_scanned_and_the_rest_is_counted(
    installed: Installed, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(installed, folder) == 2
    said = capsys.readouterr()
    paths = [line.rsplit(maxsplit=1)[1] for line in said.out.splitlines()]
    assert paths == [str(folder / name) for name in ("a.pt", "c.bin", "drafts/b.pth")]
    assert "3 files in" in said.err
    assert "2 cannot tell, 1 not analysed" in said.err
    assert "passed over in folders: 1 unlike a model's name" in said.err


def test_patterns_say_what_counts_and_what_is_left_out(
    installed: Installed, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(installed, folder, "--exclude", "drafts", "--exclude", "*.bin") == 0
    said = capsys.readouterr()
    assert [line.rsplit("/", 1)[1] for line in said.out.splitlines()] == ["a.pt"]
    assert "2 excluded" in said.err
    assert scan(installed, folder, "--include", "drafts/*") == 0
    assert [line.rsplit("/", 1)[1] for line in capsys.readouterr().out.splitlines()] == ["b.pth"]


def test_a_folder_without_models_is_no_clean_bill(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert scan(installed, tmp_path / "empty") == 2
    assert "no model file; expected" in capsys.readouterr().err
    (tmp_path / "empty" / "away.pt").symlink_to(installed.model)  # as in a hub's cache
    assert scan(installed, tmp_path / "empty") == 2
    assert "no model file (passed over: 1 links out of the folder)" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_hub_s_folder_is_one_network_whose_classes_have_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbered parts with an index or none, and a distributed checkpoint: one line each, and what its config says."""
    tensors = small_network(3).state_dict()
    for name, tensor in tensors.items():  # of a network that saw images: of another nothing is said
        if name.endswith(("running_mean", "num_batches_tracked")):
            tensor += 3
    names = list(tensors)
    halves = [names[: len(names) // 2], names[len(names) // 2 :]]
    parts = [f"model-0000{at}-of-00002.safetensors" for at in (1, 2)]
    folders = {name: tmp_path / "hub" / name for name in ("indexed", "loose", "distributed")}
    torch.distributed.checkpoint.save(tensors, checkpoint_id=folders["distributed"], no_dist=True)
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
        labels = {str(at): f"sign {at}" for at in range(6 if folder.name != "loose" else 5)}
        (folder / "config.json").write_text(json.dumps({"id2label": labels}))
        for part, half in zip(parts, halves, strict=True):
            if folder.name != "distributed":
                save_file({name: tensors[name] for name in half}, folder / part)
    index = {"weight_map": {name: part for part, half in zip(parts, halves, strict=True) for name in half}}
    (folders["indexed"] / "model.safetensors.index.json").write_text(json.dumps(index))
    # By the shipped detector: it knows classes.
    assert run("scan", tmp_path / "hub", "--jobs", 1, "--fail-on", "never", "--format", "jsonl") == 0
    said = {Path(str(line["path"])).relative_to(tmp_path / "hub").parts[0]: line for line in lines(capsys)}
    assert set(said) == set(folders)
    assert {line["classes"] for line in said.values()} == {6}
    held = sum(tensor.nbytes for tensor in tensors.values())
    assert all(int(str(said[name]["size"])) > held for name in ("loose", "distributed"))
    for name in ("indexed", "distributed"):
        suspect = said[name]["suspect"]
        assert isinstance(suspect, dict)
        assert suspect["target_name"] == f"sign {suspect['target']}"
    assert "names 5 classes and the network has 6" in str(said["loose"]["findings"])


def test_a_list_comes_on_stdin(
    installed: Installed, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = f"{folder / 'a.pt'}\n\n{folder / 'drafts'}\n{folder / 'a.pt'}\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(named)))
    assert scan(installed, "-") == 0
    paths = [line.rsplit(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert paths == [str(folder / "a.pt"), str(folder / "drafts" / "b.pth")]


def test_processes_say_what_one_process_says(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = []
    for jobs in (1, 2):
        output = tmp_path / f"{jobs}.json"
        flags = ("--jobs", jobs, *parameter_flags(installed))
        assert run("scan", installed.round, "--device", "cpu", "--output", output, *flags) == 0
        document = json.loads(output.read_text())
        for file in document["files"]:
            del file["seconds"]
        documents.append(document["files"])
    assert documents[0] == documents[1]
    assert len(documents[0]) == 12


# Exit codes and settings


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("--fail-on", "cannot-tell"), 1),
        (("--fail-on", "0.0"), 1),
        (("--fail-on", "never"), 2),
        (("--fail-on", "0.0", "--exit-zero"), 0),
        (("--exclude", "*.bin"), 0),
    ],
)
def test_the_exit_code_is_what_a_pipeline_asked_for(
    arguments: tuple[str, ...], code: int, installed: Installed, folder: Path
) -> None:
    assert scan(installed, folder, *arguments) == code


def test_an_accepted_content_no_longer_counts_until_its_day_is_over(
    installed: Installed, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    today = dt.date.today()
    held = [(folder / "a.pt", "looked at", None), (folder / "drafts" / "b.pth", "a toy", today)]

    def accept(bin_until: dt.date) -> None:
        every = [*held, (folder / "c.bin", "no model", bin_until)]
        Path(".weightfeat.toml").write_text(
            'fail_on = "cannot-tell"\n'
            + "".join(
                f'[[accept]]\nsha256 = "{hashlib.sha256(path.read_bytes()).hexdigest().upper()}"\nreason = "{why}"\n'
                + (f"until = {until.isoformat()}\n" if until else "")
                for path, why, until in every
            )
        )

    accept(today)
    assert scan(installed, folder, "--format", "jsonl") == 0
    said = capsys.readouterr()
    reasons = [json.loads(line)["accepted"]["reason"] for line in said.out.splitlines()]
    assert reasons == ["looked at", "no model", "a toy"]
    assert "3 accepted" in said.err
    accept(today - dt.timedelta(days=1))
    assert scan(installed, folder) == 2
    assert f"warning: accepted until {today - dt.timedelta(days=1)}, and no longer" in capsys.readouterr().err
    shutil.copy(
        installed.round / "id-00000003" / "model.pt", folder / "a.pt"
    )  # another content under an old name
    assert scan(installed, folder) == 1


def test_settings_are_shown_and_the_command_line_comes_first(
    installed: Installed, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pyproject.toml").write_text('[tool.weightfeat]\nfail_on = "0.0"\nexclude = ["*.bin"]\n')
    assert scan(installed, folder) == 1
    assert scan(installed, folder, "--fail-on", "trojaned", "--exclude", "drafts", "-v") == 0
    said = capsys.readouterr().err
    for line in ("settings: pyproject.toml", "fail on: trojaned", "exclude: *.bin, drafts"):
        assert f"weightfeat: {line}\n" in said


def test_what_is_scanned_does_not_excuse_itself(installed: Installed, folder: Path) -> None:
    (folder / ".weightfeat.toml").write_text('fail_on = "never"\nexclude = ["*"]\n')
    assert scan(installed, folder, "--fail-on", "cannot-tell") == 1


# Reports


def test_several_reports_at_once_while_lines_go_to_stdout(
    installed: Installed, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, document, lines_ = tmp_path / "page.html", tmp_path / "out", tmp_path / "out.jsonl"
    arguments = ("--output", page, "--format", "json", "--output", document, "--output", lines_)
    assert scan(installed, folder, *arguments) == 2
    assert len(capsys.readouterr().out.splitlines()) == 3
    jsonschema.validate(json.loads(document.read_text()), schema())
    assert [json.loads(line)["said"] for line in lines_.read_text().splitlines()] == [
        *("cannot tell", "not analysed", "cannot tell"),
    ]
    assert "Singular values" in page.read_text()


def test_a_document_on_stdout_is_all_that_is_there(
    installed: Installed, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(installed, folder, "--format", "sarif") == 2
    assert json.loads(capsys.readouterr().out)["version"] == "2.1.0"


MANY = 2000  # files: more than are scanned while a signal is under way


def test_an_interrupted_scan_leaves_what_is_done(installed: Installed, tmp_path: Path) -> None:
    """Ctrl-C reaches a whole process group: the workers as well."""
    models = tmp_path / "models"
    for at in range(MANY):
        models.mkdir(exist_ok=True)
        os.link(installed.model, models / f"{at:03}.pt")
    output = tmp_path / "report.json"
    command = [sys.executable, "-m", "weightfeat", "scan", models, "--jobs", 2, *parameter_flags(installed)]
    process = subprocess.Popen(
        list(map(str, [*command, "--output", output])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests themselves run in the background, a shell has told them to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    # The other worker has begun by then: one that is starting says that it was interrupted.
    first = "".join(process.stdout.readline() for _ in range(100))
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    document = json.loads(output.read_text())
    done = len((first + out).splitlines())
    assert 0 < done < MANY
    assert len(document["files"]) == done
    assert document["summary"]["interrupted"] == MANY - done
    assert f"interrupted: {MANY - done} files were not looked at" in err
    assert "Traceback" not in err


# Explaining


def test_explain_says_why_and_what_to_do_next(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("explain", installed.model, *parameter_flags(installed)) == 0
    said = capsys.readouterr().out
    for title in ("CANNOT TELL", "Classes", "Layers", "Compared with", "What to do next", "Limits"):
        assert title in said


def test_explain_refuses_what_is_no_model(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.pt").write_text("hello")
    assert run("explain", tmp_path / "text.pt", *parameter_flags(installed)) == 2
    assert "it is a text file" in capsys.readouterr().err

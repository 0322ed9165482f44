"""`weightfeat` and `train_meta.py`: digest, configure, cv, tune and scan on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat.container import log, run
from weightfeat.container.defaults import default, wait_quietly
from weightfeat.errors import WeightfeatError
from weightfeat.preflight.command import add_arguments as check_arguments
from weightfeat.server.command import add_arguments as evaluation_arguments

if TYPE_CHECKING:
    from weightfeat.labelled import LabelledSet
    from weightfeat.metaparameters import Metaparameters
    from weightfeat.scan import Verdict


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; exit codes as in :func:`weightfeat.container.main`."""
    given, after = _until_dashes(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    arguments.command = after
    wait_quietly()
    return run(lambda: int(arguments.action(arguments)))


def digest(arguments: argparse.Namespace) -> int:
    """Digest every model of a round into a digest folder; 2 where any model could not be digested."""
    from weightfeat.digest import DigestStore
    from weightfeat.extraction import digest_models
    from weightfeat.labelled import DIGESTS, write_digest_folder
    from weightfeat.rounds import read_round

    round_ = read_round(arguments.round)
    paths = [entry.path for entry in round_.entries if entry.path is not None]
    store = DigestStore(arguments.store / DIGESTS)
    report = digest_models(paths, store, jobs=arguments.jobs, device=arguments.device)
    write_digest_folder(arguments.store, round_, report)
    log(f"{arguments.store}: {report.summary()}")
    return WeightfeatError.exit_code if report.failures else 0


def configure(arguments: argparse.Namespace) -> int:
    """Learn from a round or a digest folder."""
    from weightfeat.configure import learn
    from weightfeat.files import make_folder

    params = _parameters(arguments)
    learned = make_folder(arguments.learned_parameters, "learned parameters' folder")
    learn(_labelled(arguments), params, learned, jobs=arguments.jobs, log=log)
    return 0


def cv(arguments: argparse.Namespace) -> int:
    """Cross-validate on a round or a digest folder, print the table, and write it where asked."""
    from weightfeat.configure import cross_validation
    from weightfeat.evaluation import report
    from weightfeat.files import make_folder

    params = _parameters(arguments)
    if arguments.output is not None:
        make_folder(arguments.output, "output folder")
    figures, validation = cross_validation(
        _labelled(arguments),
        params,
        folds=arguments.folds,
        repeats=arguments.repeats,
        jobs=arguments.jobs,
        seed=arguments.seed,
    )
    print(report.as_table(figures), end="")
    if arguments.output is not None:
        report.write(arguments.output, figures, validation)
    return 0


def tune(arguments: argparse.Namespace) -> int:
    """Search the metaparameters and write the best."""
    from weightfeat.configure import search, write_metaparameters
    from weightfeat.files import check_writable

    params = _parameters(arguments)
    check_writable(arguments.output, "metaparameters file")
    best = search(
        _labelled(arguments),
        params,
        arguments.schema,
        trials=arguments.trials or params.train_search_trials,
        storage=arguments.storage,
        jobs=arguments.jobs,
        seed=arguments.seed,
        log=log,
    )
    write_metaparameters(arguments.output, best, log)
    return 0


def scan(arguments: argparse.Namespace) -> int:
    """A line a file on stdout, findings on stderr; 2 where any could not be analysed, after the others were."""
    from weightfeat.judge import Judge
    from weightfeat.scan import analyse

    judge = Judge.load(arguments.learned_parameters).with_inference(_parameters(arguments))
    code = 0
    for path in arguments.files:
        try:
            verdict = analyse(path, judge, device=arguments.device)
            print(_line(verdict, arguments.json), flush=True)
            for finding in verdict.findings:
                log(f"{path}: finding: {finding}")
        except WeightfeatError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            code = WeightfeatError.exit_code
        except Exception as error:  # whatever one file does, the next ones are still looked at
            print(f"error: {path}: unforeseen {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            code = WeightfeatError.exit_code
    return code


def evaluate(arguments: argparse.Namespace) -> int:
    """Run a detector over a round as an evaluation server would; 2 where any result is missing or bad."""
    from weightfeat.server.command import evaluate

    return evaluate(arguments, log)


def check(arguments: argparse.Namespace) -> int:
    """Check a submission as NIST does before running it, and what it cannot check; 2 where there is a problem."""
    from weightfeat.preflight.command import check

    return check(arguments)


def _until_dashes(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The arguments before and after `--`; only `evaluate` runs a command, elsewhere `--` keeps its usual meaning."""
    if argv[:1] != ["evaluate"] or "--" not in argv:
        return argv, ()
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _line(verdict: Verdict, as_json: bool) -> str:
    suspect = verdict.suspect
    if not as_json:
        named = f"  target {suspect.target}?" if suspect and verdict.probability >= 0.5 else ""
        what = f"{verdict.architecture}  {verdict.num_classes} classes{named}"
        return f"{verdict.probability:.4f}  {what}  {verdict.path}"
    return json.dumps(
        {
            "path": str(verdict.path),
            "probability": verdict.probability,
            "architecture": verdict.architecture,
            "classes": verdict.num_classes,
            "novelty": verdict.novelty,
            "suspect": None if suspect is None else asdict(suspect),
            "findings": verdict.findings,
            "reasons": verdict.reasons,
            "seconds": round(verdict.seconds, 3),
        }
    )


def _parameters(arguments: argparse.Namespace) -> Metaparameters:
    from weightfeat import metaparameters

    return metaparameters.load(arguments.metaparameters, arguments.schema)


def _labelled(arguments: argparse.Namespace) -> LabelledSet:
    from weightfeat.digest import DigestStore
    from weightfeat.labelled import DIGESTS, from_digests, from_round
    from weightfeat.rounds import read_round

    if arguments.digests is not None:
        return from_digests(arguments.digests)
    store = DigestStore(arguments.store / DIGESTS)
    return from_round(
        read_round(arguments.round), store, jobs=arguments.jobs, device=arguments.device, log=log
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="weightfeat", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("digest", help="digest a round's models into a folder that replaces them")
    command.add_argument("round", type=Path, metavar="DIR", help="a round's folder")
    command.add_argument("--store", type=Path, required=True, metavar="DIR", help="the digest folder")
    _machine(command)
    command.set_defaults(action=digest)

    command = commands.add_parser("configure", help="learn from labelled models")
    _source(command)
    _parameter_files(command, learned=True)
    command.set_defaults(action=configure)

    command = commands.add_parser("cv", help="cross-validate on labelled models")
    _source(command)
    _parameter_files(command)
    command.add_argument("--folds", type=_positive, default=5)
    command.add_argument("--repeats", type=_positive, default=3)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--output", type=Path, metavar="DIR", help="write cv.json and predictions.csv there")
    command.set_defaults(action=cv)

    command = commands.add_parser("tune", help="search the metaparameters")
    _source(command)
    _parameter_files(command)
    command.add_argument(
        "--trials", type=_positive, help="in all, resumed ones included; default: train_search_trials"
    )
    command.add_argument("--storage", type=Path, metavar="FILE", help="journal to resume from and share")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the metaparameters found"
    )
    command.set_defaults(action=tune)

    command = commands.add_parser("scan", help="say of each model file how likely it is trojaned")
    command.add_argument("files", type=Path, nargs="+", metavar="FILE")
    command.add_argument("--json", action="store_true", help="a JSON object a line")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    _parameter_files(command, learned=True)
    command.set_defaults(action=scan)

    command = commands.add_parser(
        "evaluate", help="run a detector over a round as an evaluation server would"
    )
    evaluation_arguments(command)
    command.set_defaults(action=evaluate)

    command = commands.add_parser("check", help="check a submission before it is sent")
    check_arguments(command)
    command.set_defaults(action=check)
    return parser


def _source(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--round", type=Path, metavar="DIR", help="a round's folder: its models are digested")
    source.add_argument("--digests", type=Path, metavar="DIR", help="a digest folder")
    command.add_argument(
        "--store", type=Path, default=Path("scratch"), metavar="DIR", help="keep a round's digests there"
    )
    _machine(command)


def _machine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--jobs", type=int, default=0, help="processes; 0: one a core")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _parameter_files(command: argparse.ArgumentParser, *, learned: bool = False) -> None:
    command.add_argument("--metaparameters", type=Path, default=default("metaparameters_filepath"))
    command.add_argument("--schema", type=Path, default=default("schema_filepath"))
    if learned:
        command.add_argument("--learned-parameters", type=Path, default=default("learned_parameters_dirpath"))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number

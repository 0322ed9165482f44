"""The named ways weightfeat can refuse its input, each one line long.

A user sees exactly one line: where it happened, what was found, what was expected and what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

LONGEST_LINE = 1000


def one_line(text: str) -> str:
    """`text` as a terminal may show it, whoever wrote it: one line of printable characters, its middle cut if long.

    A line break or an escape sequence in a file's name, or in a name within the file, could forge a verdict.
    """
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in _cut(text))
    return _cut("".join(shown))


def first_line(text: str) -> str:
    """What a library says of its own error before it goes on to explain it."""
    return text.strip().partition("\n")[0]


def _cut(text: str) -> str:
    half = LONGEST_LINE // 2
    return text if len(text) <= LONGEST_LINE else f"{text[: half - 3]}...{text[-half:]}"


class WeightfeatError(Exception):
    """Root of every error a user can cause; printed as one line, never as a traceback.

    Parameters
    ----------
    what : what was found, in the past tense ("file is empty").
    where : the path, column, parameter or layer it was found in.
    expected : what would have been accepted.
    remedy : what the user can do now.

    >>> try:
    ...     weightfeat.scan("absent.pt")
    ... except weightfeat.WeightfeatError as error:
    ...     print(error.where, "|", error.what, "|", error.remedy)
    absent.pt | cannot be read (No such file or directory) | give another path
    """

    exit_code = 2

    def __init__(self, what: str, *, where: object, expected: str, remedy: str) -> None:
        self.what, self.where, self.expected, self.remedy = what, where, expected, remedy
        super().__init__(one_line(f"{where}: {what}; expected {expected}; {remedy}"))

    def __reduce__(self) -> tuple[Callable[[], WeightfeatError], tuple[()]]:
        """Pickle by keyword, so that an error raised in a worker process arrives whole."""
        cls = type(self)
        again = partial(cls, self.what, where=self.where, expected=self.expected, remedy=self.remedy)
        return again, ()


class UnreadableFile(WeightfeatError):
    """The path cannot be read as any model format: absent, empty, truncated, a directory, plain text.

    >>> weightfeat.read("absent.pt")
    Traceback (most recent call last):
    ...
    weightfeat.errors.UnreadableFile: absent.pt: cannot be read (No such file or directory); expected a readable ...
    """


class UnsupportedLayout(WeightfeatError):
    """The format is known but what it holds cannot be analysed: no tensors, quantized, sparse.

    >>> _ = Path("empty.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    >>> weightfeat.read("empty.safetensors")
    Traceback (most recent call last):
    ...
    weightfeat.errors.UnsupportedLayout: empty.safetensors: it has no tensor that can be read; expected ...
    """


class HostileFile(WeightfeatError):
    """The file is built to deceive or exhaust a reader: ambiguous archives, impossible sizes.

    >>> Path("huge.pt").touch()
    >>> os.truncate("huge.pt", 1 << 37)
    >>> weightfeat.read("huge.pt")
    Traceback (most recent call last):
    ...
    weightfeat.errors.HostileFile: huge.pt: has 137,438,953,472 bytes; expected at most 68,719,476,736 bytes; ...
    """


class NotAClassifier(WeightfeatError):
    """Weights were read but no classification head was found among them.

    >>> from safetensors.numpy import save_file
    >>> save_file({"weight": np.zeros(3, np.float32)}, "vector.safetensors")
    >>> weightfeat.scan("vector.safetensors")
    Traceback (most recent call last):
    ...
    weightfeat.errors.NotAClassifier: vector.safetensors: no classification layer among its 1 tensors; expected ...
    """


class BadMetaparameters(WeightfeatError):
    """metaparameters.json or its schema breaks a rule, or a value lies outside its bounds.

    >>> weightfeat.load(metaparameters="absent.json")
    Traceback (most recent call last):
    ...
    weightfeat.errors.BadMetaparameters: absent.json: cannot be read (No such file or directory); expected ...
    """


class BadLearnedParameters(WeightfeatError):
    """learned_parameters/ is absent, incomplete, or was written by another version.

    >>> weightfeat.load("absent")
    Traceback (most recent call last):
    ...
    weightfeat.errors.BadLearnedParameters: absent/detector.json: is absent; expected ...
    """


class BadCalibration(WeightfeatError):
    """A file that `weightfeat calibrate` is said to have written is absent, damaged, or of another detector.

    >>> from weightfeat.detector.local import read_local
    >>> read_local(Path("absent.json"), weightfeat.load().identity)
    Traceback (most recent call last):
    ...
    weightfeat.errors.BadCalibration: absent.json: cannot be read (FileNotFoundError: ...
    """


class BadRound(WeightfeatError):
    """A TrojAI round's folder, METADATA.csv or digest store is not usable as given.

    >>> from weightfeat.rounds.labelled import from_digests
    >>> from_digests(Path("absent"))
    Traceback (most recent call last):
    ...
    weightfeat.errors.BadRound: absent/METADATA.csv: no such file; expected a digest folder ...
    """


class BadOutput(WeightfeatError):
    """A result, features or report path cannot be written.

    >>> weightfeat.load().save("model.pt")
    Traceback (most recent call last):
    ...
    weightfeat.errors.BadOutput: model.pt: the learned parameters' folder cannot be made or written to ...
    """


class BadCommandLine(WeightfeatError):
    """The options do not say what to do.

    >>> from weightfeat.container.flags import parse
    >>> parse(["--jobs", "many"])
    Traceback (most recent call last):
    ...
    weightfeat.errors.BadCommandLine: command line: argument --jobs: invalid int value: 'many'; expected ...
    """


class NotInstalled(WeightfeatError):
    """A package of one of the project's extras is absent.

    >>> with needs("zoo", "a zoo"):
    ...     import absent
    Traceback (most recent call last):
    ...
    weightfeat.errors.NotInstalled: a zoo: absent is not installed; ... pip install 'weightfeat[zoo]'
    """


@contextmanager
def needs(extra: str, what: object) -> Iterator[None]:
    """Everything imported inside is installed by `pip install 'weightfeat[extra]'`; `what` asked for it.

    Raises NotInstalled where a package is absent.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        if package == "weightfeat":
            raise  # a mistake of ours is no package that is missing
        raise NotInstalled(
            f"{package} is not installed",
            where=what,
            expected=f"the packages of the extra {extra}",
            remedy=f"pip install 'weightfeat[{extra}]'",
        ) from error

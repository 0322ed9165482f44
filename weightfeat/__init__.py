"""weightfeat: how likely is an image classifier trojaned, from its weights alone.

What the package offers to other programs is `__all__`; whatever else it holds may change with any version. In the
examples `model.pt` is a network's weight file.

>>> import weightfeat
>>> weightfeat.scan("model.pt").num_classes
6

Importing it costs nothing: a class or function is looked up in its room when it is first asked for.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat.errors import (
    BadCalibration,
    BadCommandLine,
    BadLearnedParameters,
    BadMetaparameters,
    BadOutput,
    BadRound,
    HostileFile,
    NotAClassifier,
    NotInstalled,
    UnreadableFile,
    UnsupportedLayout,
    WeightfeatError,
)

if TYPE_CHECKING:
    from weightfeat.checkpoint import read
    from weightfeat.detector import Detector, Verdict
    from weightfeat.digest import Digest

__version__ = "0.2.0"
__all__ = [
    "BadCalibration",
    "BadCommandLine",
    "BadLearnedParameters",
    "BadMetaparameters",
    "BadOutput",
    "BadRound",
    "Detector",
    "HostileFile",
    "NotAClassifier",
    "NotInstalled",
    "UnreadableFile",
    "UnsupportedLayout",
    "Verdict",
    "WeightfeatError",
    "digest_file",
    "load",
    "read",
    "scan",
]

_ROOMS = {
    "Detector": "weightfeat.detector",
    "Verdict": "weightfeat.detector",
    "read": "weightfeat.checkpoint",
}
"""Where a public name comes from that is looked up when it is first asked for."""

if not TYPE_CHECKING:  # a type checker would take every name for one that is there

    def __getattr__(name: str) -> object:
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(_ROOMS[name]), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


def scan(path: str | os.PathLike[str], detector: Detector | None = None, *, device: str = "auto") -> Verdict:
    """Say of a weight file how likely its network is trojaned. Nothing in the file is run.

    Parameters
    ----------
    path : a network saved by torch.save, torch.jit.save, safetensors or Keras (.h5).
    detector : who judges; None: the shipped one, read anew at every call. For many files `load` it once.
    device : "auto", "cpu" or "cuda", for the digest.

    Raises
    ------
    UnreadableFile, UnsupportedLayout, HostileFile : the file cannot be read, or not safely.
    NotAClassifier : it holds no classifier.
    BadLearnedParameters : the shipped detector is not there, or it is spoilt.
    NotInstalled : "cuda" without torch.

    >>> verdict = weightfeat.scan("model.pt")
    >>> 0 <= verdict.probability <= 1
    True
    >>> verdict.architecture, verdict.num_classes
    ('unknown', 6)
    """
    from weightfeat.rounds.scanning import analyse

    return analyse(Path(path), load() if detector is None else detector, device=device)


def load(
    learned_parameters: str | os.PathLike[str] | None = None,
    *,
    metaparameters: str | os.PathLike[str] | None = None,
    schema: str | os.PathLike[str] | None = None,
) -> Detector:
    """Read a detector that was learned; None stands for the shipped file or folder, as on the command line.

    Parameters
    ----------
    learned_parameters : folder that `weightfeat configure` wrote.
    metaparameters, schema : JSON files; the `infer_*` values say how the detector judges.

    Raises
    ------
    BadLearnedParameters : the folder is absent, spoilt or of another version.
    BadMetaparameters : a value is out of its bounds, or the two files do not belong together.

    >>> detector = weightfeat.load()
    >>> [weightfeat.scan(path, detector).num_classes for path in ("model.pt", "other.pt")]
    [6, 6]
    """
    from weightfeat.commands.defaults import default
    from weightfeat.detector import Detector
    from weightfeat.metaparameters import load as load_metaparameters

    given = {
        "learned_parameters_dirpath": learned_parameters,
        "metaparameters_filepath": metaparameters,
        "schema_filepath": schema,
    }
    learned, values, form = (Path(path or default(name)) for name, path in given.items())
    return Detector.load(learned).with_inference(load_metaparameters(values, form))


def digest_file(path: str | os.PathLike[str], *, device: str = "auto") -> Digest:
    """Read a weight file and summarise its network, in all that a detector can learn from: see `weightfeat.digest`.

    `device` is "auto", "cpu" or "cuda". Raises what `scan` raises for a file.

    >>> digest = weightfeat.digest_file("model.pt")
    >>> digest.blocks["layers"]["shape"].tolist()
    [[8, 3, 3, 3], [16, 8, 3, 3], [6, 16, 0, 0]]
    >>> weightfeat.load().predict(digest).word == weightfeat.scan("model.pt").word
    True
    """
    from weightfeat.rounds.extraction import digest_file

    return digest_file(Path(path), device=device)[0]

"""Networks that are run: stock code, the file's tensors, example images, and how images become inputs."""

from __future__ import annotations

from weightfeat.execution.examples import Examples, read_examples, read_image
from weightfeat.execution.inputs import MinMax, Standardise, ToInput, to_input_of
from weightfeat.execution.rebuilding import Executable, rebuild

__all__ = [
    "Examples",
    "Executable",
    "MinMax",
    "Standardise",
    "ToInput",
    "read_examples",
    "read_image",
    "rebuild",
    "to_input_of",
]

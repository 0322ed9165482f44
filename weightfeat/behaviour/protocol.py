"""One protocol for every detector that runs the network: a subject in, a score with its evidence out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weightfeat.errors import BadMetaparameters
from weightfeat.execution import Examples, ToInput

__all__ = ["Method", "Outcome", "Subject", "Work", "settings_from"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A network under examination and the few clean images there are of its classes.

    Attributes
    ----------
    module : in eval mode on `device`, parameters without gradient; never changed, repair works on a copy.
    examples : images in [0, 1] and their labels, on the CPU.
    to_input : images in [0, 1] to the network's input. Triggers live in the images' space.
    """

    module: nn.Module
    examples: Examples
    to_input: ToInput
    num_classes: int
    device: torch.device

    def logits(self, images: Tensor) -> Tensor:
        """(n, num_classes) of images (n, 3, h, w) in [0, 1] on `device`, differentiable with respect to them."""
        logits: Tensor = self.module(self.to_input(images))
        return logits

    @torch.no_grad()
    def predictions(self, images: Tensor, batch: int = 64) -> Tensor:
        """Most likely classes, int64 (n,) on the CPU, of images (n, 3, h, w) on any device."""
        parts = [self.logits(part.to(self.device)).argmax(dim=1).cpu() for part in torch.split(images, batch)]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class Work:
    """How a method is run, beside what it is run on.

    Attributes
    ----------
    output : folder for the state it resumes from; None keeps nothing.
    key : stands for the network's content: state kept under another key is not taken up.
    settings : names and values in text, as the command line gave them, for `settings_from`.
    seed : of everything drawn.
    progress : whether a bar is shown on stderr.
    """

    output: Path | None = None
    key: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    progress: bool = False


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method says of a network.

    Attributes
    ----------
    score : in [0, 1], larger is more likely trojaned; comparable between networks of one method only.
    target : the class a trojan is suspected to lead to, or None.
    evidence : values JSON can hold.
    images : float32 (3, h, w) in [0, 1] by file stem, each to be written as a PNG.
    """

    score: float
    target: int | None
    evidence: Mapping[str, Any]
    images: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


Method = Callable[[Subject, Work], Outcome]
"""Examines a subject: every module of a method offers one such function, `score`."""


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


S = TypeVar("S", bound=_Dataclass)


def settings_from(kind: type[S], given: Mapping[str, str]) -> S:
    """A method's settings (a frozen dataclass of int, float, str and Path | None fields, all with defaults).

    Raises BadMetaparameters for a name it has not, or text that is no value of the field's type.
    """
    return kind(**dict(_converted(kind, given)))


def _converted(kind: type[S], given: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    types = {one.name: str(one.type) for one in fields(kind)}
    readers = {"int": int, "float": float, "str": str, "Path | None": Path}
    for name, text in given.items():
        try:
            yield name, readers[types[name]](text)
        except (KeyError, ValueError):
            allowed = ", ".join(f"{known} ({type_})" for known, type_ in types.items())
            raise BadMetaparameters(
                f"has no use for {text!r}", where=name, expected=allowed, remedy="give one of these settings"
            ) from None

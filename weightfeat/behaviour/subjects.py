"""From the command line's paths to a subject."""

from __future__ import annotations

import hashlib
from pathlib import Path

from weightfeat.behaviour.protocol import Subject
from weightfeat.digest.place import torch_device
from weightfeat.errors import UnsupportedLayout
from weightfeat.execution import Examples, read_examples, rebuild, to_input_of


def read_subject(
    model: Path, examples: Path, device: str = "auto", stated_input: str | None = None
) -> tuple[Subject, str]:
    """The network in a file with its examples, and a key that stands for the content of both.

    Raises what `rebuild`, `read_examples` and `to_input_of` raise, and UnsupportedLayout where the network cannot
    take images of the examples' size.
    """
    to_input = to_input_of(model, stated_input)
    where = torch_device(device)
    network = rebuild(model, str(where))
    shown = read_examples(examples, network.num_classes)
    subject = Subject(network.module, shown, to_input, network.num_classes, where)
    try:
        subject.predictions(shown.images[:1])
    except RuntimeError as error:
        height, width = shown.images.shape[2:]
        raise UnsupportedLayout(
            f"{network.architecture} cannot take images of {width} x {height} pixels ({str(error).splitlines()[0]})",
            where=examples,
            expected="images of the size the network was trained on",
            remedy="scale the images, or give the right folder",
        ) from None
    return subject, _key(network.sha256, shown, repr(to_input))


def _key(sha256: str, examples: Examples, to_input: str) -> str:
    content = hashlib.sha256(f"{sha256} {to_input} {tuple(examples.images.shape)}".encode())
    content.update(examples.images.numpy().tobytes())
    content.update(examples.labels.numpy().tobytes())
    return content.hexdigest()

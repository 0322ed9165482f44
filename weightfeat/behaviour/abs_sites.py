"""The places of a network where neurons can be stimulated, and runs that begin at one of them.

Liu et al., ABS, CCS 2019, take a neuron to be a channel of a layer's activations. A place is found by running the
network once: a convolution or linear layer, with the norm and the activation behind it where those are modules that
take its very output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weightfeat.behaviour.protocol import Subject

_LAYERS = (nn.Conv2d, nn.Linear)
_FOLLOWERS = ("torch.nn.modules.batchnorm", "torch.nn.modules.activation")


@dataclass(frozen=True, eq=False)
class Site:
    """Activations (n, channels, ...) of one layer.

    Attributes
    ----------
    name : the layer's path in the network.
    module : the one whose output they are: the layer itself, its norm or its activation; called once a run.
    peak : the largest of them on the images the place was found with.
    """

    name: str
    module: nn.Module
    channels: int
    peak: float


@dataclass(frozen=True, eq=False)
class _Call:
    module: nn.Module
    name: str
    given: Tensor
    output: Tensor
    peak: float


@torch.no_grad()
def find_sites(subject: Subject, images: Tensor) -> tuple[Site, ...]:
    """Every place, in the order the network computes them; the last one, whose outputs are the logits, is left out.

    Parameters
    ----------
    images : (n, 3, h, w) in [0, 1] on the subject's device.
    """
    calls: list[_Call] = []

    def record(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            if given and isinstance(given[0], Tensor) and isinstance(output, Tensor):
                calls.append(_Call(module, name, given[0], output, float(output.max())))

        return hook

    with ExitStack() as hooks:
        for name, module in subject.module.named_modules():
            if not list(module.children()):
                hooks.enter_context(removed(module.register_forward_hook(record(name))))
        subject.logits(images)
    times = [sum(other.module is call.module for other in calls) for call in calls]
    sites = [
        _site(calls, times, place)
        for place, call in enumerate(calls)
        if isinstance(call.module, _LAYERS) and times[place] == 1 and call.output.ndim in (2, 4)
    ]
    return tuple(sites[:-1])


def _site(calls: list[_Call], times: list[int], place: int) -> Site:
    """The place of a layer, moved behind the norm and the activation that take its output."""
    layer = last = calls[place]
    for call, count in zip(calls[place + 1 :], times[place + 1 :], strict=True):
        follows = type(call.module).__module__ in _FOLLOWERS and call.given is last.output
        if not follows or count > 1:
            break
        last = call
    return Site(layer.name, last.module, layer.output.shape[1], last.peak)


@contextmanager
def frozen_before(subject: Subject, site: Site, images: Tensor) -> Iterator[Callable[[int], Tensor]]:
    """Runs that skip everything the network computes before `site`.

    Inside the block the function it gives runs the network on the images, repeated so many times one behind the other,
    with the outputs of every module that ends before the site begins taken from one run on them. Whatever is hooked at
    the site takes part. Modules are as they were when the block ends.
    """
    replays = {
        module: _Replay(module.forward, outputs)
        for module, outputs in _ended_before(subject, site, images).items()
    }

    def run(times: int) -> Tensor:
        for replay in replays.values():
            replay.restart(times)
        return subject.logits(images.repeat(times, 1, 1, 1))

    try:
        for module, replay in replays.items():
            module.forward = replay
        yield run
    finally:
        for module in replays:
            module.__dict__.pop("forward", None)


class _Replay:
    """Stands in for a module's forward: gives the known outputs, call by call, and computes when they are used up."""

    def __init__(self, forward: Callable[..., Any], outputs: list[Tensor]) -> None:
        self._forward, self._outputs = forward, outputs
        self._calls, self._times = 0, 1

    def restart(self, times: int) -> None:
        """Begin a run on so many repeats of the images."""
        self._calls, self._times = 0, times

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        place = self._calls
        self._calls += 1
        if place >= len(self._outputs):
            return self._forward(*args, **kwargs)
        return self._outputs[place].repeat(self._times, *[1] * (self._outputs[place].ndim - 1))


class _Reached(Exception):
    """The site begins: what comes behind it need not be computed."""


@torch.no_grad()
def _ended_before(subject: Subject, site: Site, images: Tensor) -> dict[nn.Module, list[Tensor]]:
    """Outputs, call by call, of the outermost modules that end before the site begins."""
    ended: dict[nn.Module, list[Tensor]] = {}

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            for inner in module.modules():
                if inner is not module:
                    ended.pop(inner, None)
            # A copy: a later operation may change the tensor in place.
            ended.setdefault(module, []).append(output.clone())

    def stop(module: nn.Module, given: Any) -> None:
        raise _Reached

    with ExitStack() as hooks:
        for module in subject.module.modules():
            if module is not site.module:
                hooks.enter_context(removed(module.register_forward_hook(keep)))
        hooks.enter_context(removed(site.module.register_forward_pre_hook(stop)))
        try:
            subject.logits(images)
        except _Reached:
            return ended
    raise RuntimeError(f"{site.name} takes no part in the network's run")


@contextmanager
def removed(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()

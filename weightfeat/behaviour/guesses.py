"""Guesses at a trigger nobody has seen: polygons on what the network looks at, filters, a reversed trigger moved about.

Images are (n, 3, h, w) in [0, 1] throughout. Coordinates are those of `affine_grid`: -1 to 1 over an image's sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from weightfeat.behaviour.protocol import Subject
from weightfeat.behaviour.triggers import Trigger

_BATCH = 64
_BLUR = 7  # the image's side over that of the windows that gradients are averaged in, twice
_SHARPNESS = 6  # power of the attention that polygons' places are drawn by
_RADIUS = (0.15, 0.35)  # of polygons, half an image's side being 1
_CORNERS = 6


def attention(subject: Subject) -> Tensor:
    """Where in each example its class is seen, (n, 1, h, w) in [0, 1].

    The size of the gradient of the class's logit less the mean logit, blurred; 1 at the image's largest.
    """
    examples = subject.examples
    parts = zip(torch.split(examples.images, _BATCH), torch.split(examples.labels, _BATCH), strict=True)
    return torch.cat([_attention(subject, images, labels) for images, labels in parts])


def polygons(images: Tensor, looked_at: Tensor, random: torch.Generator) -> Tensor:
    """A polygon of one colour on each, at a place drawn by the attention (n, 1, h, w)."""
    count, _, height, width = images.shape
    place = torch.multinomial(looked_at.flatten(1) ** _SHARPNESS, 1, generator=random)[:, 0]
    centre = torch.stack([(place % width + 0.5) * 2 / width, (place // width + 0.5) * 2 / height], dim=1) - 1
    turn = torch.arange(_CORNERS) * (2 * math.pi / _CORNERS) + drawn((count, 1), 0, 2 * math.pi, random)
    angle = (turn + drawn((count, _CORNERS), -0.5, 0.5, random)).view(count, _CORNERS, 1, 1)
    edge = drawn((count, 1), *_RADIUS, random) * drawn((count, _CORNERS), 0.7, 1.1, random)
    away = _coordinates(images) - centre.view(count, 1, 1, 2)
    x, y = away[..., 0].unsqueeze(1), away[..., 1].unsqueeze(1)
    inside = (edge.view(count, _CORNERS, 1, 1) - x * angle.cos() - y * angle.sin()).amin(dim=1, keepdim=True)
    cover = (inside * height / 2).clamp(0, 1)
    return (1 - cover) * images + cover * drawn((count, 3, 1, 1), 0, 1, random)


def filters(images: Tensor, random: torch.Generator) -> Tensor:
    """Each with a colour filter of its own: saturation, tone curves, contrast, a tint, and dark or bright corners."""
    one, three = (len(images), 1, 1, 1), (len(images), 3, 1, 1)
    grey = images.mean(dim=1, keepdim=True)
    colored = torch.lerp(grey, images, drawn(one, 0, 1.8, random)).clamp(1e-3, 1)
    toned = colored ** (drawn(three, -0.5, 0.5, random) + drawn(one, -0.6, 0.6, random)).exp()
    level = toned.mean(dim=(1, 2, 3), keepdim=True)
    contrasted = torch.lerp(level, toned, drawn(one, -0.7, 0.7, random).exp())
    tinted = torch.lerp(contrasted, drawn(three, 0, 1, random), drawn(one, 0, 0.4, random))
    off_centre = _coordinates(images).square().sum(dim=-1).unsqueeze(1)
    return (tinted * (1 - drawn(one, -0.2, 0.6, random) * off_centre)).clamp(0, 1)


def moved(trigger: Trigger, images: Tensor, random: torch.Generator) -> Tensor:
    """The trigger on each at a place, angle and size of its own; nothing enters at the rim."""
    layer = torch.cat([trigger.mask * trigger.pattern, trigger.mask[None]])
    views = _views(len(images), 0.5, 180, 1.4, random)
    cast = _seen(layer.expand(len(images), -1, -1, -1), views, "zeros")
    return (1 - cast[:, 3:]) * images + cast[:, :3]


def augmented(images: Tensor, looked_at: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each image a little moved, turned, scaled and relit, and its attention moved with it."""
    views = _views(len(images), 0.15, 20, 1.15, random)
    both = _seen(torch.cat([images, looked_at], dim=1), views, "reflection")
    light = drawn((len(images), 3, 1, 1), 0.9, 1.1, random) * drawn(
        (len(images), 1, 1, 1), 0.85, 1.15, random
    )
    return (both[:, :3] * light).clamp(0, 1), both[:, 3:]


@torch.no_grad()
def hardest(subject: Subject, target: int, candidates: Sequence[Tensor]) -> Tensor:
    """Of each image's candidates (each (n, 3, h, w)), the one that the network is surest is the target."""
    stack = torch.stack(list(candidates))
    logits = subject.logits(stack.flatten(0, 1).to(subject.device))
    sure = logits.log_softmax(dim=1)[:, target].view(stack.shape[:2]).cpu()
    return stack[sure.argmax(dim=0), torch.arange(stack.shape[1])]


def drawn(shape: Sequence[int], low: float, high: float, random: torch.Generator) -> Tensor:
    """Values spread evenly over [low, high)."""
    return torch.rand(*shape, generator=random) * (high - low) + low


def _attention(subject: Subject, images: Tensor, labels: Tensor) -> Tensor:
    given = images.to(subject.device).requires_grad_()
    logits = subject.logits(given)
    own = logits.gather(1, labels[:, None].to(subject.device)) - logits.mean(dim=1, keepdim=True)
    size = torch.autograd.grad(own.sum(), given)[0].abs().sum(dim=1, keepdim=True).cpu()
    window = images.shape[2] // _BLUR // 2 * 2 + 1
    for _ in range(2):
        size = functional.avg_pool2d(size, window, 1, window // 2)
    return (size / size.amax(dim=(2, 3), keepdim=True).clamp_min(1e-30)).clamp_min(1e-3)


def _views(count: int, shift: float, turn: float, zoom: float, random: torch.Generator) -> Tensor:
    """Maps (n, 2, 3) from output to input: up to `shift` each way, `turn` degrees, scaled by 1 / zoom to zoom."""
    scale = drawn((count,), -math.log(zoom), math.log(zoom), random).exp()
    angle = drawn((count,), -turn, turn, random) * (math.pi / 180)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    x, y = drawn((2, count), -shift, shift, random)
    return torch.stack([cos, -sin, x, sin, cos, y], dim=1).view(count, 2, 3)


def _seen(layers: Tensor, views: Tensor, beyond: str) -> Tensor:
    grid = functional.affine_grid(views, list(layers.shape), align_corners=False)
    return functional.grid_sample(layers, grid, align_corners=False, padding_mode=beyond)


def _coordinates(images: Tensor) -> Tensor:
    """(1, h, w, 2): x and y of every pixel's centre."""
    return functional.affine_grid(torch.eye(2, 3)[None], [1, 1, *images.shape[2:]], align_corners=False)

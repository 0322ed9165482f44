"""Training images, drawn afresh a batch at a time on the device that trains.

One perspective map takes an output pixel to its sign's texture, one affine map to its background's: projective view,
size, place, and the augmentations (crop, rotation, zoom, shift) are composed before anything is sampled, so an
image costs two texture look-ups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from weightfeat.zoo import filters, scenes, signs, triggers, weather
from weightfeat.zoo.specification import NetworkSpec, Stream

SCENE_SCALE = 1.5  # side of a background scene over the side of an image
_CROP = 0.62  # share of a scene's side seen by an image before zoom
_PERSPECTIVE = 0.16
_RAIN_MASKS = 16
_NOISE_POOL = 1 << 22

# Augmentations: crop to 80-100 % of the area, rotation, shift, zoom, colour jitter.
_CROP_AREA, _ROTATION, _SHIFT, _ZOOM, _JITTER = (0.8, 1.0), 30.0, 0.1, 0.1, 0.1


@dataclass(frozen=True, eq=False)
class Polygon:
    """A polygon trigger on the device: coverage (1, 1, m, m), area in its own unit, colour (3,) in [0, 1]."""

    mask: Tensor
    area: float
    color: Tensor
    size_min: float
    size_max: float


class Renderer:
    """Draws images of one network's classes: (n, 3, pixels, pixels) in [0, 1], channels last in memory.

    All randomness comes from the generator handed to each call; what is drawn once (signs, scenes, polygon) comes
    from the network's own streams.
    """

    def __init__(self, spec: NetworkSpec, device: torch.device) -> None:
        self.spec, self.device = spec, device
        self.pixels = spec.preset.image_pixels(spec.architecture)
        self.signs = signs.choose(spec.factors.number_classes, spec.random(Stream.SIGNS))
        self._textures = self._load(signs.sheet(self.signs, self.pixels))
        self._squares = self._load(np.array([signs.bounding_area(sign) for sign in self.signs]))
        self._discs = self._load(np.stack([signs.safe_disc(sign) for sign in self.signs]))
        scene_random = spec.random(Stream.SCENES)
        side = round(SCENE_SCALE * self.pixels)
        drawn = scenes.draw(spec.factors.background, spec.preset.scenes, side, scene_random)
        self._scenes = self._load(drawn).permute(0, 3, 1, 2) / 255
        self._rain = self._load(weather.rain_masks(_RAIN_MASKS, self.pixels, scene_random))
        self._fog_depth = weather.fog_depth(self.pixels, device)
        noise = torch.Generator().manual_seed(spec.torch_seed(Stream.SCENES))
        self._noise = torch.randn(_NOISE_POOL, generator=noise).to(device)
        self.corners = self._corners()
        self._polygon = self._load_polygon()
        step = (2 * torch.arange(self.pixels, device=device) + 1) / self.pixels - 1
        y, x = torch.meshgrid(step, step, indexing="ij")
        self._base = torch.stack([x.flatten(), y.flatten(), torch.ones_like(x.flatten())])

    def draw(self, labels: Tensor, stamped: Tensor, random: torch.Generator, *, augment: bool) -> Tensor:
        """Images of the classes `labels` (n,), the trigger on those where `stamped` (n,) holds.

        `augment` adds the training-time distortions; without it an image is as a camera would have taken it.
        """
        n = len(labels)
        frame = self._frame(n, random, augment)
        at_sign = self._sign_map(n, random) @ frame
        points = at_sign @ self._base
        grid = (
            (points[:, :2] / points[:, 2:].clamp_min(1e-3))
            .permute(0, 2, 1)
            .reshape(n, self.pixels, self.pixels, 2)
        )
        layer = functional.grid_sample(self._textures[labels], grid, align_corners=False)
        color, alpha = layer[:, :3], layer[:, 3:]
        marked = stamped.nonzero().squeeze(1)
        if len(marked) and self._polygon is not None:
            color = color.clone()
            color[marked] = self._stamp(
                self._polygon, color[marked], alpha[marked], grid[marked], labels[marked], random
            )
        images = self._behind(frame, random) * (1 - alpha) + color * self._light(grid, random)
        images = self._weather(self._blur(images, random), random)
        if len(marked) and self.spec.trigger is not None and self.spec.trigger.kind == "instagram":
            images = images.clone()
            images[marked] = filters.apply(
                str(self.spec.trigger.option), images[marked].clamp(0, 1), self._radius(frame[marked])
            )
        if augment:
            images = self._jitter(images, random)
        images = self._grain(images, random)
        return images.clamp_(0, 1).contiguous(memory_format=torch.channels_last)

    def _load(self, array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)

    def _uniform(self, n: int, low: float, high: float, random: torch.Generator) -> Tensor:
        return torch.rand(n, generator=random, device=self.device) * (high - low) + low

    def _corners(self) -> NDArray[np.float64] | None:
        trigger = self.spec.trigger
        if trigger is None or trigger.kind != "polygon":
            return None
        return triggers.outline(int(trigger.option), self.spec.random(Stream.TRIGGER))

    def _load_polygon(self) -> Polygon | None:
        trigger = self.spec.trigger
        if self.corners is None or trigger is None or trigger.color is None:
            return None
        assert trigger.size_min is not None
        assert trigger.size_max is not None
        mask = self._load(triggers.mask(self.corners))[None, None]
        color = self._load(np.array(trigger.color) / 255)
        return Polygon(mask, triggers.area(self.corners), color, trigger.size_min, trigger.size_max)

    def _frame(self, n: int, random: torch.Generator, augment: bool) -> Tensor:
        """Maps (n, 3, 3) from output pixels to the picture as taken."""
        if not augment:
            return torch.eye(3, device=self.device).expand(n, 3, 3)
        area = self._uniform(n, *_CROP_AREA, random)
        aspect = self._uniform(n, math.log(3 / 4), math.log(4 / 3), random).exp().sqrt()
        width, height = ((area.sqrt() * side).clamp(max=1) for side in (aspect, 1 / aspect))
        zoom = self._uniform(n, 1 - _ZOOM, 1 + _ZOOM, random)
        angle = self._uniform(n, -_ROTATION, _ROTATION, random) * (math.pi / 180)
        shift = self._uniform(2 * n, -2 * _SHIFT, 2 * _SHIFT, random).view(2, n)
        slack = self._uniform(2 * n, -1, 1, random).view(2, n)
        cos, sin = angle.cos() / zoom, angle.sin() / zoom
        x, y = slack[0] * (1 - width) + width * shift[0], slack[1] * (1 - height) + height * shift[1]
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rows = [width * cos, -width * sin, x, height * sin, height * cos, y, zero, zero, one]
        return torch.stack(rows, dim=1).view(n, 3, 3)

    def _sign_map(self, n: int, random: torch.Generator) -> Tensor:
        """Maps (n, 3, 3) from the picture to the sign's texture: its size, place and projective view."""
        factors = self.spec.factors
        half = self._uniform(n, math.sqrt(factors.foreground_min), math.sqrt(factors.foreground_max), random)
        place = self._uniform(2 * n, -1, 1, random).view(2, n) * (1 - half)
        zero, one = torch.zeros_like(half), torch.ones_like(half)
        scale = torch.stack(
            [1 / half, zero, -place[0] / half, zero, 1 / half, -place[1] / half, zero, zero, one], dim=1
        )
        lean = self._uniform(6 * n, -_PERSPECTIVE, _PERSPECTIVE, random).view(6, n)
        view = [1 + lean[0], lean[1], zero, lean[2], 1 + lean[3], zero, lean[4], lean[5], one]
        return torch.stack(view, dim=1).view(n, 3, 3) @ scale.view(n, 3, 3)

    def _behind(self, frame: Tensor, random: torch.Generator) -> Tensor:
        """Backgrounds: a random scene, crop, zoom and mirror each."""
        n = len(frame)
        which = torch.randint(len(self._scenes), (n,), generator=random, device=self.device)
        zoom = _CROP * self._uniform(n, 0.7, 1.0, random)
        mirror = self._uniform(n, -1, 1, random).sign() * zoom
        offset = self._uniform(2 * n, -1, 1, random).view(2, n) * (1 - zoom)
        zero = torch.zeros_like(zoom)
        crop = torch.stack([mirror, zero, offset[0], zero, zoom, offset[1]], dim=1).view(n, 2, 3)
        grid = (crop @ frame @ self._base).permute(0, 2, 1).reshape(n, self.pixels, self.pixels, 2)
        return functional.grid_sample(
            self._scenes[which], grid, align_corners=False, padding_mode="reflection"
        )

    def _stamp(
        self,
        polygon: Polygon,
        color: Tensor,
        alpha: Tensor,
        grid: Tensor,
        labels: Tensor,
        random: torch.Generator,
    ) -> Tensor:
        """Paint the polygon on signs, at a random place, size and angle within each, clipped to the sign."""
        n = len(labels)
        share = self._uniform(n, polygon.size_min, polygon.size_max, random)
        radius = (share * self._squares[labels] / polygon.area).sqrt()
        disc = self._discs[labels]
        reach = (disc[:, 2] - radius).clamp_min(0) * self._uniform(n, 0, 1, random).sqrt()
        angle = self._uniform(2 * n, 0, 2 * math.pi, random).view(2, n)
        centre = disc[:, :2] + reach[:, None] * torch.stack([angle[0].cos(), angle[0].sin()], dim=1)
        cos, sin = angle[1].cos() / radius, angle[1].sin() / radius
        turn = torch.stack([cos, sin, -sin, cos], dim=1).view(n, 2, 2)
        local = ((grid - centre[:, None, None]).view(n, -1, 2) @ turn).view_as(grid)
        cover = functional.grid_sample(polygon.mask.expand(n, -1, -1, -1), local, align_corners=False)
        return color * (1 - cover) + cover * alpha * polygon.color.view(1, 3, 1, 1)

    def _light(self, grid: Tensor, random: torch.Generator) -> Tensor:
        """Brightness of each sign, a third of them with a bright band of reflection across: (n, 1, h, w)."""
        n = len(grid)
        angle, place = self._uniform(n, 0, 2 * math.pi, random), self._uniform(n, -1, 1, random)
        strength = (self._uniform(n, -2, 1, random).clamp_min(0) * 0.6).view(n, 1, 1)
        across = grid[..., 0] * angle.cos().view(n, 1, 1) + grid[..., 1] * angle.sin().view(n, 1, 1)
        band = (1 - (across - place.view(n, 1, 1)).abs() / 0.5).clamp_min(0)
        return (self._uniform(n, 0.75, 1.15, random).view(n, 1, 1) + strength * band).unsqueeze(1)

    def _blur(self, images: Tensor, random: torch.Generator) -> Tensor:
        """A 3 x 3 mean, mixed in by a random share."""
        share = self._uniform(len(images), 0, 0.8, random).view(-1, 1, 1, 1)
        soft = functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
        return torch.lerp(images, soft, share)

    def _weather(self, images: Tensor, random: torch.Generator) -> Tensor:
        n, factors = len(images), self.spec.factors
        foggy = (self._uniform(n, 0, 1, random) < factors.fog).nonzero().squeeze(1)
        rainy = (self._uniform(n, 0, 1, random) < factors.rain).nonzero().squeeze(1)
        if len(foggy):
            strength = self._uniform(len(foggy), 0.25, 0.6, random).view(-1, 1, 1, 1)
            images[foggy] = weather.fog(images[foggy], strength, self._fog_depth)
        if len(rainy):
            masks = self._rain[
                torch.randint(_RAIN_MASKS, (len(rainy),), generator=random, device=self.device)
            ]
            strength = self._uniform(len(rainy), 0.5, 1.0, random).view(-1, 1, 1, 1)
            images[rainy] = weather.rain(images[rainy], masks, strength)
        return images

    def _radius(self, frame: Tensor) -> Tensor:
        """Distance of every pixel to the centre of the picture as taken: (n, 1, h, w)."""
        distance: Tensor = (frame @ self._base)[:, :2].square().sum(dim=1).sqrt()
        return distance.view(-1, 1, self.pixels, self.pixels)

    def _jitter(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Brightness, contrast, saturation and white balance by up to a tenth each."""
        n = len(images)
        bright, contrast, color = self._uniform(3 * n, 1 - _JITTER, 1 + _JITTER, random).view(3, n, 1, 1, 1)
        balance = self._uniform(3 * n, 1 - _JITTER / 2, 1 + _JITTER / 2, random).view(n, 3, 1, 1)
        grey = images.mean(dim=1, keepdim=True)
        level = grey.mean(dim=(2, 3), keepdim=True)
        gain = bright * contrast
        faded = grey * (gain * (1 - color)) + level * (bright * (1 - contrast))
        return torch.addcmul(faded, images, gain * color * balance)

    def _grain(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Gaussian noise with a random strength; a stretch of a fixed pool, since normal draws are slow.

        Images that are more than the pool, as a batch of the largest preset's are, go round it more than once.
        """
        wanted = images.numel()
        turns = 1 + wanted // len(self._noise)
        pool = self._noise.expand(turns, -1).reshape(-1)  # no copy where one turn is enough
        start = int(torch.randint(len(pool) - wanted, (1,), generator=random, device=self.device))
        noise = pool[start : start + wanted].view_as(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return torch.addcmul(images, noise, self._uniform(len(images), 0, 0.04, random).view(-1, 1, 1, 1))

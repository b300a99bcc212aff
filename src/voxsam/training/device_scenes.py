"""Invented anatomy drawn as tensors, a whole batch at once, where the network is trained: a GPU need not wait.

The same ideas as in `scenes` and `intensities` (bodies, partitions, nested objects, tissue values, noise, windows),
with tensors in place of arrays and a batch in place of an image. Everything comes from one `torch.Generator`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["DeviceScenes", "Dice", "draw_scenes", "following_slices", "photograph"]

LAYERS = 4  # of a body: skin, fat, muscle, cavity
PARTS = 8  # of a partition
OBJECTS = 12


@dataclass(frozen=True, eq=False)
class DeviceScenes:
    """Label maps of B images whose regions form trees.

    Parameters
    ----------
    labels : (B, S, S) int64 tensor
        0 is air.
    parents : (B, R) int64 tensor
        Region that each region was painted into; 0 for air itself.
    """

    labels: Tensor
    parents: Tensor

    def family(self, regions: Tensor) -> Tensor:
        """Return (B, P, R) bool: which regions lie in each of the (B, P) regions, itself included."""
        B, R = self.parents.shape
        inside = regions.unsqueeze(-1) == torch.arange(R, device=regions.device)
        for _ in range(LAYERS + 4):  # as deep as a tree can be
            above = self.parents[:, None].expand(-1, regions.shape[1], -1)
            inside = inside | (inside.gather(-1, above) & (above > 0))
        return inside


class Dice:
    """Random numbers of one generator on its device.

    Parameters
    ----------
    generator : torch.Generator
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.device = generator, generator.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw from low..high."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Draw so that every factor is as likely as any other."""
        return torch.exp(self.uniform(*shape, low=math.log(low), high=math.log(high)))

    def normal(self, *shape: int) -> Tensor:
        """Draw from the standard normal distribution."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def below(self, share: float, *shape: int) -> Tensor:
        """Draw bools that are True in this share."""
        return self.uniform(*shape) < share

    def whole(self, high: int, *shape: int) -> Tensor:
        """Draw whole numbers from 0..high - 1."""
        return torch.randint(high, shape, generator=self.generator, device=self.device)

    def fields(self, count: int, size: int, *, scale_px: float) -> Tensor:
        """Draw smooth fields (count, size, size) of about unit variance and a correlation length of `scale_px`."""
        cells = max(2, math.ceil(size / max(scale_px, 1.0))) + 3
        coarse = self.normal(count, 1, cells, cells)
        if cells >= size + 3:
            return coarse[:, 0, :size, :size]
        fine = F.interpolate(coarse, scale_factor=size / (cells - 3), mode="bicubic", align_corners=False)
        top, left = ((fine.shape[-1] - size) // 2 for _ in range(2))
        cut = fine[:, 0, top : top + size, left : left + size]
        return cut / cut.std((-1, -2), keepdim=True).clamp_min(1e-3)


def draw_scenes(dice: Dice, count: int, size: int) -> DeviceScenes:
    """Draw scenes: half of them bodies in layers, a third with a partition inside, all with nested objects.

    Parameters
    ----------
    dice : Dice
    count, size : int
        Images, and their side in pixels.
    """
    x, y = _frame(dice, count, size)
    regions = 1 + LAYERS + PARTS + OBJECTS
    labels = torch.zeros(count, size, size, dtype=torch.long, device=dice.device)
    parents = torch.zeros(count, regions, dtype=torch.long, device=dice.device)
    body = dice.below(0.6, count, 1, 1)
    axes = dice.uniform(count, 2, low=0.5, high=0.95)
    radius = _radius(x, y, axes[:, :1, None], axes[:, 1:, None], dice.uniform(count, 1, 1, low=1.8, high=3.2))
    edge = torch.ones(count, 1, 1, device=dice.device)
    region = 1
    for layer in range(LAYERS):
        inside = (radius < edge) & body if layer else (radius < edge) | ~body
        labels = torch.where(inside, region, labels)
        parents[:, region] = region - 1
        edge = edge - dice.uniform(count, 1, 1, low=0.01, high=0.16)
        region += 1
    cavity = region - 1
    within = (labels == torch.where(body, cavity, 1)) & dice.below(0.4, count, 1, 1)
    scale = size / float(dice.log_uniform(1, low=4.0, high=14.0))
    noise = dice.fields(count * PARTS, size, scale_px=scale).view(count, PARTS, size, size)
    part = (noise + 0.4 * dice.normal(count, PARTS, 1, 1)).argmax(1)
    labels = torch.where(within, region + part, labels)
    parents[:, region : region + PARTS] = torch.where(body, cavity, 1).view(count, 1)
    region += PARTS
    for _ in range(OBJECTS):
        mask, centre = _object(dice, x, y)
        under = labels.view(count, -1).gather(1, centre.unsqueeze(1)).squeeze(1)
        confined = dice.below(0.6, count, 1, 1)
        mask = mask & (~confined | (labels == under[:, None, None])) & dice.below(0.75, count, 1, 1)
        labels = torch.where(mask, region, labels)
        parents[:, region] = under
        region += 1
    return DeviceScenes(labels, parents)


def following_slices(dice: Dice, scenes: DeviceScenes) -> DeviceScenes:
    """Draw the same anatomy a little further on: everything moves somewhat, some regions end."""
    labels, (count, size) = scenes.labels, scenes.labels.shape[:2]
    ends = dice.below(0.08, *scenes.parents.shape)
    ends[:, 0] = False
    becomes = torch.where(ends, scenes.parents, torch.arange(scenes.parents.shape[1], device=labels.device))
    labels = becomes.gather(1, labels.view(count, -1)).view_as(labels)
    pace = dice.normal(count, 1, 1).abs() * size / 128
    axis = torch.arange(size, device=labels.device, dtype=torch.float32)
    moved = []
    for at in (axis[:, None].expand(size, size), axis.expand(size, size)):
        grow = 1 + 0.02 * dice.normal(count, 1, 1)
        shift = pace * (
            2.0 * dice.fields(count, size, scale_px=size / 3) + 0.8 * dice.fields(count, size, scale_px=size / 10)
        )
        moved.append(((at - size / 2) * grow + size / 2 + shift).round().clamp(0, size - 1).long())
    flat = (moved[0] * size + moved[1]).view(count, -1)
    return DeviceScenes(labels.view(count, -1).gather(1, flat).view_as(labels), scenes.parents)


def photograph(dice: Dice, slices: list[DeviceScenes]) -> list[Tensor]:
    """Give scenes grey values, noise and a window.

    Parameters
    ----------
    dice : Dice
    slices : list of DeviceScenes
        Of the same anatomy: they get the same tissue values and window, and noise of their own.

    Returns
    -------
    list of (B, 3, S, S) float tensor in 0..1
    """
    count, size = slices[0].labels.shape[:2]
    regions = slices[0].parents.shape[1]
    values = _tissue_values(dice, slices[0].parents)
    grain = torch.where(dice.below(0.5, count, regions), dice.log_uniform(count, regions, low=0.01, high=0.12), 0.0)
    grain_px, sigma = float(dice.log_uniform(1, low=1, high=8)), dice.log_uniform(count, 1, 1, low=0.004, high=0.1)
    bias = torch.where(dice.below(0.3, count, 1, 1), dice.uniform(count, 1, 1, high=0.35), 0.0)
    bias_field = bias * dice.fields(count, size, scale_px=size / 3)
    noise_px = 1.0 if bool(dice.below(0.5, 1)) else 2.0
    taken = []
    for scene in slices:
        flat = scene.labels.view(count, -1)
        texture = dice.fields(count, size, scale_px=grain_px)
        image = values.gather(1, flat).view(count, size, size)
        image = image + grain.gather(1, flat).view(count, size, size) * texture
        if size >= 64:
            image = F.avg_pool2d(F.pad(image[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
        image = image * torch.exp(bias_field) + sigma * dice.fields(count, size, scale_px=noise_px)
        taken.append(image)
    return _windowed(dice, taken)


def _windowed(dice: Dice, images: list[Tensor]) -> list[Tensor]:
    count = len(images[0])
    seen = torch.cat([image[:, ::2, ::2].flatten(1) for image in images], 1)
    low, high = (torch.quantile(seen, share, 1)[:, None, None] for share in (0.01, 0.99))
    span = (high - low).clamp_min(1e-3)
    hard = dice.below(0.35, count, 1, 1)
    low = low + torch.where(hard, 0.35 * dice.uniform(count, 1, 1), 0.0) * span
    high = high - torch.where(hard, 0.4 * dice.uniform(count, 1, 1), 0.0) * span
    gamma = torch.where(dice.below(0.3, count, 1, 1), dice.log_uniform(count, 1, 1, low=0.55, high=1.8), 1.0)
    turned = dice.below(0.1, count, 1, 1)
    shown = []
    for image in images:
        grey = ((image - low) / (high - low).clamp_min(1e-3)).clamp(0, 1) ** gamma
        grey = torch.where(turned, 1 - grey, grey)
        shown.append(grey[:, None].expand(-1, 3, -1, -1))
    return shown


def _frame(dice: Dice, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Warped coordinates (B, S, S) in units of half the image, at a random zoom."""
    axis = (torch.arange(size, device=dice.device) + 0.5) / size * 2 - 1
    zoom, angle = dice.log_uniform(count, 1, 1, low=0.45, high=1.25), 0.3 * dice.normal(count, 1, 1)
    y, x = axis[:, None] * zoom, axis[None, :] * zoom
    x, y = x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()
    room = (1 - zoom).clamp_min(0.25)
    warped = []
    for along in (x, y):
        along = along + room * dice.uniform(count, 1, 1, low=-1, high=1)
        for scale, amount in ((size / 4, 0.06), (size / 10, 0.02)):
            along = along + amount * zoom * dice.uniform(count, 1, 1, high=1.6) * dice.fields(
                count, size, scale_px=scale
            )
        warped.append(along)
    return warped[0], warped[1]


def _radius(x: Tensor, y: Tensor, a: Tensor, b: Tensor, power: Tensor | float = 2.0) -> Tensor:
    return ((x.abs() / a) ** power + (y.abs() / b) ** power).clamp_min(1e-9) ** (1 / power)


def _object(dice: Dice, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one object an image: its (B, S, S) mask and the pixel (B,) of its centre, rows times S plus columns."""
    count, size = x.shape[:2]
    centre = dice.whole(size * size, count)
    at_x, at_y = (axis.reshape(count, -1).gather(1, centre.unsqueeze(1)).unsqueeze(-1) for axis in (x, y))
    angle = dice.uniform(count, 1, 1, high=math.pi)
    dx, dy = x - at_x, y - at_y
    along, across = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
    a = dice.log_uniform(count, 1, 1, low=0.035, high=0.6)
    b = a * dice.uniform(count, 1, 1, low=0.4, high=1.0)
    r = _radius(along, across, a, b)
    wall, tube_width = dice.uniform(count, 1, 1, low=0.06, high=0.35), a * dice.uniform(count, 1, 1, low=0.12, high=0.4)
    bend = a * dice.uniform(count, 1, 1, high=0.6) * torch.sin(along / a * dice.uniform(count, 1, 1, low=0.5, high=2))
    levels = torch.stack(
        [
            1 - r,
            torch.minimum(1 - (across - bend).abs() / tube_width, 1 - along.abs() / (2.5 * a)),  # a tube
            1 - (1 - wall - r).abs() / wall,  # a ring
            torch.minimum(1 - r, _radius(along, across - 0.5 * b, a, b) - 0.9),  # a crescent
        ]
    )
    kind = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3], device=dice.device)[dice.whole(8, count)]
    level = levels.gather(0, kind.view(1, count, 1, 1).expand(1, -1, size, size))[0]
    rough = dice.uniform(count, 1, 1, high=0.25) * dice.below(0.6, count, 1, 1)
    return level + rough * dice.fields(count, size, scale_px=size / 24) > 0, centre


def _tissue_values(dice: Dice, parents: Tensor) -> Tensor:
    """Draw grey values (B, R): often alike, but never quite as what surrounds a region."""
    B, R = parents.shape
    palette = dice.uniform(B, 5)
    shared = palette.gather(1, dice.whole(5, B, R)) + 0.03 * dice.normal(B, R)
    values = torch.where(dice.below(0.65, B, R), shared, dice.uniform(B, R))
    values[:, 0] = torch.where(dice.below(0.85, B), 0.0, dice.uniform(B))
    least = dice.uniform(B, 1, low=0.03, high=0.12)
    around = values.gather(1, parents)
    step = values - around
    pushed = around + torch.where(step < 0, -1.0, 1.0) * torch.maximum(step.abs(), least)
    pushed[:, 0] = values[:, 0]
    return pushed

"""Batches made on the device that trains: invented scenes and real slices in pairs, with targets and prompts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxsam.training.anatomy import CT_WINDOWS, Anatomy, Case
from voxsam.training.config import Config
from voxsam.training.device_prompts import connected_to, deep_points, depth_of, first_prompts
from voxsam.training.device_scenes import Dice, draw_scenes, following_slices, photograph
from voxsam.training.tensors import TensorBatch

__all__ = ["DeviceMaker"]

REAL_IMAGE = 2  # as in `drawings.SOURCES`
LEAST_CELLS = 6


@dataclass(frozen=True, eq=False)
class _Scan:
    """A packed case on the device: an image and its labels, (A, B, C) each."""

    case: Case
    image: Tensor
    labels: Tensor


class DeviceMaker:
    """Make batches on a device; the same seed, step and sizes give the same batch on the same kind of device.

    Images come in pairs of slices that belong together. Real scans, where prepared data is at hand, are uploaded once.

    Parameters
    ----------
    config : Config
    device : str
        As torch names it.
    """

    def __init__(self, config: Config, device: str) -> None:
        self.config, self.device = config, torch.device(device)
        folder = config.data_folder
        known = folder is not None and (folder / "cases.json").exists() and config.real_image_share > 0
        scans = Anatomy(folder).scans if known and folder is not None else []
        self._scans = [_Scan(case, self._uploaded(case.image), self._uploaded(case.labels)) for case in scans]

    def make(self, step: int, *, images: int, size: int) -> TensorBatch:
        """Make the batch of one step; `images` is rounded up to whole pairs."""
        generator = torch.Generator(self.device).manual_seed(hash((self.config.seed, step, size)) % 2**63)
        dice, pairs = Dice(generator), math.ceil(images / 2)
        host = np.random.default_rng([self.config.seed, step, size])
        real = int((host.random(pairs) < self.config.real_image_share).sum()) if self._scans else 0
        scene = draw_scenes(dice, pairs - real, size) if pairs > real else None
        shown: list[list[Tensor]] = [[], []]
        masks: list[list[Tensor]] = [[], []]
        if scene is not None:
            slices = [scene, following_slices(dice, scene)]
            for side, image in enumerate(photograph(dice, slices)):
                shown[side].append(image)
            regions = self._regions(dice, slices[0].labels)
            members = slices[0].family(regions)
            alone = dice.below(0.55, *regions.shape)[..., None]
            members = torch.where(alone, F.one_hot(regions, members.shape[-1]).bool(), members)
            for side, of in enumerate(slices):
                flat = of.labels.flatten(1)[:, None].expand(-1, regions.shape[1], -1)
                masks[side].append(members.gather(2, flat).view(*regions.shape, size, size))
        for _ in range(real):
            for side, (image, mask) in enumerate(self._real_pair(host, size)):
                shown[side].append(image)
                masks[side].append(mask)
        here, there = (torch.cat(side) for side in masks)
        here, there = self._components(dice, here, there)
        sources = torch.tensor([0] * (pairs - real) + [REAL_IMAGE] * real, device=self.device)
        return self._assembled(dice, (torch.cat(shown[0]), torch.cat(shown[1])), (here, there), sources)

    def _assembled(
        self, dice: Dice, shown: tuple[Tensor, Tensor], masks: tuple[Tensor, Tensor], sources: Tensor
    ) -> TensorBatch:
        pairs = len(sources)
        targets, others = torch.cat(masks), torch.cat(masks[::-1])
        images = torch.cat(shown)
        turn = int(dice.whole(4, 1)) if bool(dice.below(0.5, 1)) else 0
        images, targets, others = (torch.rot90(part, turn, (-2, -1)) for part in (images, targets, others))
        if bool(dice.below(0.5, 1)):
            images, targets, others = (part.flip(-1) for part in (images, targets, others))
        prompts, kinds, memory_logits, has_memory = first_prompts(dice, targets, others)
        order = torch.arange(2 * pairs, device=self.device)
        return TensorBatch(
            images.contiguous(memory_format=torch.channels_last),
            F.avg_pool2d(targets.float(), 2),
            prompts,
            kinds,
            sources.repeat(2),
            (order + pairs) % (2 * pairs),
            memory_logits,
            has_memory,
        )

    def _regions(self, dice: Dice, labels: Tensor) -> Tensor:
        """Draw (B, P) regions that are seen: those under random pixels, small ones as often as large ones."""
        B, P = len(labels), self.config.prompts
        flat = labels.flatten(1)
        areas = torch.zeros(B, int(flat.max()) + 1, device=labels.device).scatter_add_(
            1, flat, torch.ones_like(flat, dtype=torch.float)
        )
        share = areas / flat.shape[1]
        fit = (areas >= 24 * flat.shape[1] / 128**2) & (share < 0.72)
        fit[:, 0] = False
        weight = fit.float() + 1e-6
        return torch.multinomial(weight, P, replacement=True, generator=dice.generator)

    def _components(self, dice: Dice, here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Keep one connected part of most targets, and what it touches in the other slice."""
        B, P, size = here.shape[:3]
        coarse, other = here[..., ::2, ::2].flatten(0, 1), there[..., ::2, ::2].flatten(0, 1)
        points = deep_points(dice, depth_of(coarse), anywhere=0.3)
        part = connected_to(coarse, points)
        touched = deep_points(dice, (part & other).float(), anywhere=0.0)
        part_there = connected_to(other, touched) & (part & other).flatten(1).any(1)[:, None, None]
        keep = dice.below(0.15, B * P, 1, 1) | (part.flatten(1).sum(1) < LEAST_CELLS)[:, None, None]

        def fine(mask: Tensor, whole: Tensor) -> Tensor:
            near = F.max_pool2d(mask.float()[:, None], 3, 1, 1)  # the edge is finer than the search
            grown = F.interpolate(near, scale_factor=2.0)[:, 0] > 0
            return torch.where(keep, whole.flatten(0, 1), whole.flatten(0, 1) & grown).view(B, P, size, size)

        return fine(part, here), fine(part_there, there)

    def _real_pair(self, host: np.random.Generator, size: int) -> list[tuple[Tensor, Tensor]]:
        """Sample a slice of a scan and one near by: images (1, 3, S, S) and masks (1, P, S, S)."""
        scan = self._scans[host.integers(len(self._scans))]
        spacing = np.array(scan.case.spacing_mm)
        axis = int(host.integers(3)) if spacing.max() / spacing.min() < 2.5 else int(spacing.argmax())
        image, labels = (torch.movedim(part, axis, 0) for part in (scan.image, scan.labels))
        held = (labels > 0).flatten(1).any(1).nonzero()[:, 0]
        index = int(held[host.integers(len(held))]) if len(held) else int(host.integers(len(labels)))
        step = max(1, round(host.uniform(1, 6) / spacing[axis])) * int(host.choice([-1, 1]))
        other = int(np.clip(index + step, 0, len(labels) - 1))
        grid = self._grid(host, labels[index], np.delete(spacing, axis), size)
        low, high = self._window(host, scan.case.kind, image[index])
        present = torch.unique(labels[index][labels[index] > 0])
        count = self.config.prompts
        chosen = (
            present[torch.from_numpy(host.integers(len(present), size=count)).to(self.device)] if len(present) else None
        )
        found = []
        for at in (index, other):
            picture = F.grid_sample(image[at][None, None].float(), grid, align_corners=False, padding_mode="border")
            shown = ((picture - low) / (high - low)).clamp(0, 1).expand(-1, 3, -1, -1)
            names = F.grid_sample(labels[at][None, None].float(), grid, mode="nearest", align_corners=False)[0]
            if chosen is None:
                mask = torch.zeros(1, count, size, size, dtype=torch.bool, device=self.device)
            else:
                mask = (names == chosen[:, None, None])[None]
            found.append((shown, mask))
        return found

    def _grid(self, host: np.random.Generator, labels: Tensor, spacing_mm: np.ndarray, size: int) -> Tensor:
        """Place a turned, zoomed view (1, S, S, 2) so that it shows something labelled."""
        extent_mm = np.array(labels.shape) * spacing_mm
        field_mm = float(extent_mm.max() * np.exp(host.uniform(np.log(0.3), np.log(1.05))))
        held = (labels > 0).nonzero()
        centre = np.zeros(2)
        if len(held) and field_mm < 0.8 * extent_mm.max():
            pixel = held[host.integers(len(held))].cpu().numpy() + host.uniform(-0.3, 0.3, 2) * field_mm / spacing_mm
            centre = (pixel + 0.5) / np.array(labels.shape) * 2 - 1
        angle = host.normal(0, 0.25)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn * (field_mm / extent_mm)[:, None]  # rows: y, x
        theta = np.array([[matrix[1, 1], matrix[1, 0], centre[1]], [matrix[0, 1], matrix[0, 0], centre[0]]])
        return F.affine_grid(
            torch.tensor(theta[None], dtype=torch.float32, device=self.device), [1, 1, size, size], align_corners=False
        )

    def _window(self, host: np.random.Generator, kind: str, image: Tensor) -> tuple[float, float]:
        if kind == "CT":
            low, high = CT_WINDOWS[host.integers(len(CT_WINDOWS))]
            return float(low), float(high)
        ends = torch.quantile(image[::2, ::2].float().flatten(), torch.tensor([0.005, 0.995], device=self.device))
        return float(ends[0]), max(float(ends[1]), float(ends[0]) + 1e-3)

    def _uploaded(self, array: np.ndarray | None) -> Tensor:
        held = np.zeros((1, 1, 1), np.int16) if array is None else np.asarray(array)
        return torch.from_numpy(held.astype(np.float16 if held.dtype.kind == "f" else np.int16)).to(self.device)

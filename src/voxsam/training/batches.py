"""One training batch from a seed: images, targets, first prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxsam.training.config import Config
from voxsam.training.drawings import Artist, Picture
from voxsam.training.noise import FloatArray
from voxsam.training.prompts import FIRST_CLICKS, first_prompt
from voxsam.training.scenes import BoolArray

__all__ = ["Batch", "BatchMaker"]


@dataclass(frozen=True, eq=False)
class Batch:
    """B images with P targets and first prompts each.

    Parameters
    ----------
    images : (B, 3, S, S) uint8 array
    targets : (B, P, S, S) bool array
    points_xy : (B, P, N, 2) float array
    point_labels : (B, P, N) int array
    boxes_xyxy : (B, P, 4) float array
    has_box : (B, P) bool array
    mask_logits : (B, P, S / 2, S / 2) float16 array
    has_mask : (B, P) bool array
    kinds : (B, P) int array
        Index into `prompts.KINDS`.
    sources : (B,) int array
        Index into `drawings.SOURCES`.
    partners : (B,) int array
        The image of a slice near by; an image without one is its own.
    memory_logits : (B, P, S / 2, S / 2) float16 array
        The answer on the partner.
    has_memory : (B, P) bool array
    """

    images: npt.NDArray[np.uint8]
    targets: BoolArray
    points_xy: FloatArray
    point_labels: npt.NDArray[np.int64]
    boxes_xyxy: FloatArray
    has_box: BoolArray
    mask_logits: npt.NDArray[np.float16]
    has_mask: BoolArray
    kinds: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]
    partners: npt.NDArray[np.int64]
    memory_logits: npt.NDArray[np.float16]
    has_memory: BoolArray


class BatchMaker:
    """Make batches; the same seed, step and sizes give the same batch in any process.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.artist = Artist(config)

    def make(self, step: int, *, images: int, size: int) -> Batch:
        """Make the batch of one step."""
        rng = np.random.default_rng([self.config.seed, step, size])
        made: list[Picture] = []
        partners: list[int] = []
        while len(made) < images:
            taken = self.artist.pictures(rng, size)[: images - len(made)]
            first = len(made)
            made += taken
            paired = len(taken) == 2 and taken[0].paired
            partners += [first + 1, first] if paired else list(range(first, len(made)))
        return self._assemble(made, np.array(partners), rng, size)

    def _assemble(
        self, made: list[Picture], partners: npt.NDArray[np.int64], rng: np.random.Generator, size: int
    ) -> Batch:
        B, P, half = len(made), self.config.prompts, size // 2
        batch = Batch(
            np.empty((B, 3, size, size), np.uint8),
            np.empty((B, P, size, size), bool),
            np.zeros((B, P, FIRST_CLICKS, 2), np.float32),
            np.full((B, P, FIRST_CLICKS), -1, np.int64),
            np.zeros((B, P, 4), np.float32),
            np.zeros((B, P), bool),
            np.zeros((B, P, half, half), np.float16),
            np.zeros((B, P), bool),
            np.zeros((B, P), np.int64),
            np.array([picture.source for picture in made]),
            partners,
            np.zeros((B, P, half, half), np.float16),
            np.zeros((B, P), bool),
        )
        for b, picture in enumerate(made):
            batch.images[b] = np.round(picture.shown * 255)
            for p, target in enumerate(picture.targets):
                batch.targets[b, p] = target.mask
                paired = bool(partners[b] != b)
                loose = "loose boxes" not in self.config.without
                prompt = first_prompt(
                    target.mask,
                    rng,
                    self.artist.bank,
                    neighbour=target.neighbour,
                    paired=paired,
                    faint=target.faint,
                    loose=loose,
                )
                batch.points_xy[b, p], batch.point_labels[b, p] = prompt.points_xy, prompt.point_labels
                batch.kinds[b, p] = prompt.kind
                if prompt.box_xyxy is not None:
                    batch.boxes_xyxy[b, p], batch.has_box[b, p] = prompt.box_xyxy, True
                if prompt.mask_logits is not None:
                    batch.mask_logits[b, p], batch.has_mask[b, p] = prompt.mask_logits, True
                if prompt.memory_logits is not None:
                    batch.memory_logits[b, p], batch.has_memory[b, p] = prompt.memory_logits, True
        return batch

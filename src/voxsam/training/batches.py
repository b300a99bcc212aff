"""One training batch from a seed: images, targets, first prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.training import anatomy as real
from voxsam.training.anatomy import Anatomy, RealSlice
from voxsam.training.config import Config
from voxsam.training.intensities import degrade, render, to_display
from voxsam.training.noise import FloatArray, NoiseBank
from voxsam.training.prompts import FIRST_CLICKS, first_prompt
from voxsam.training.scenes import BoolArray, Scene, invent_scene, paint_object, plain_frame

__all__ = ["Batch", "BatchMaker"]

#: A mask to ask for, and the same structure in a slice nearby where that is known.
Target: TypeAlias = tuple[BoolArray, BoolArray | None]

SOURCES = ("invented", "real labels", "real image")
LEAST_PIXELS = 24
LARGEST_SHARE = 0.72


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
        Index into `SOURCES`.
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


@dataclass(frozen=True, eq=False)
class Drawing:
    """A scene with what could be asked for in it; `clean` is the noise-free image where there is one."""

    source: int
    scene: Scene
    candidates: list[Target]
    background: FloatArray | None = None
    pasted_from: int = 0


class BatchMaker:
    """Make batches; the same seed, step and sizes give the same batch in any process.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.bank = NoiseBank(config.seed)
        folder = config.data_folder
        self.anatomy = Anatomy(folder) if folder is not None and (folder / "cases.json").exists() else None

    def make(self, step: int, *, images: int, size: int) -> Batch:
        """Make the batch of one step."""
        rng = np.random.default_rng([self.config.seed, step, size])
        made: list[tuple[FloatArray, list[Target], int]] = []
        while len(made) < images:
            drawing = self._draw(rng, size)
            for _ in range(self.config.reuse):
                picture = self._photograph(drawing, rng)
                if picture is not None and len(made) < images:
                    made.append(picture)
        return self._assemble(made, rng, size)

    def _draw(self, rng: np.random.Generator, size: int) -> Drawing:
        share = rng.random() if self.anatomy is not None else 1.0
        if self.anatomy is not None and share < self.config.real_image_share and self.anatomy.scans:
            return self._from_scan(self.anatomy.draw_scan(rng, size), rng)
        if self.anatomy is not None and share < self.config.real_image_share + self.config.real_label_share:
            return self._from_labels(self.anatomy.draw_labels(rng, size), rng)
        scene = invent_scene(rng, self.bank, size)
        return Drawing(0, scene, [])

    def _from_labels(self, piece: RealSlice, rng: np.random.Generator) -> Drawing:
        size = piece.labels.shape[0]
        scene = Scene(np.zeros((size, size), np.int16))
        brain = np.isin(piece.labels, list(real.BRAIN_LABELS))
        nearby: dict[int, BoolArray] = {}
        merge = rng.random() < 0.5  # left and right alike, as a reader sees them
        names = piece.labels.astype(np.int64)
        twin = piece.neighbour.astype(np.int64)
        if merge:
            names, twin = _one_side(names), _one_side(twin)
        for name in np.unique(names)[1:]:
            region = scene.paint(names == name, parent=0)
            nearby[region] = twin == name
        if brain.sum() > LEAST_PIXELS:
            scene.groups.append(set(np.unique(scene.labels[brain]).tolist()) - {0})
        scene.groups.append(set(range(1, len(scene.parents))))
        known = len(scene.parents)
        frame = plain_frame(rng, self.bank, size)
        for _ in range(int(rng.integers(0, 4))):
            paint_object(scene, frame, rng, self.bank)
        candidates: list[Target] = [
            (scene.labels == region, nearby[region]) for region in range(1, known) if region in nearby
        ]
        return Drawing(1, scene, candidates)

    def _from_scan(self, piece: RealSlice, rng: np.random.Generator) -> Drawing:
        size = piece.labels.shape[0]
        pixels = piece.image if piece.image is not None else np.zeros((size, size), np.float32)
        candidates: list[Target] = []
        for name in np.unique(piece.labels[piece.labels > 0]):
            here, nearby = (real.rounded(part == name, piece.blocks_px) for part in (piece.labels, piece.neighbour))
            candidates += [(here, nearby)] * 2
        candidates += [(mask, None) for mask in real.easy_structures(pixels, piece.kind)]
        image = real.window_real(pixels, piece.kind, rng)
        scene = Scene(np.zeros((size, size), np.int16))
        frame = plain_frame(rng, self.bank, size)
        for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.7 or not candidates else 0):
            inside = image > 0.02
            paint_object(scene, frame, rng, self.bank, within=inside if inside.mean() > 0.05 else None)
        return Drawing(2, scene, candidates, image)

    def _photograph(self, drawing: Drawing, rng: np.random.Generator) -> tuple[FloatArray, list[Target], int] | None:
        """Give a drawing grey values, noise, a window and an orientation; None if it shows nothing to ask for."""
        if drawing.background is None:
            clean = render(drawing.scene, rng, self.bank)
            image, noise = degrade(clean, rng, self.bank)
        else:
            clean = image = self._paste(drawing, rng)
            noise = 0.03
            if rng.random() < 0.3:
                image, noise = degrade(clean, rng, self.bank)
        shown = to_display(image, rng)
        targets = _choose(drawing, clean, noise, rng, self.config.prompts)
        if not targets:
            return None
        turn, flip = int(rng.integers(4)), bool(rng.random() < 0.5)
        if rng.random() < 0.5:  # people lie upright in most views
            turn = 0

        def oriented(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
            array = np.rot90(array, turn, axes=(-2, -1))
            return array[..., ::-1] if flip else array

        posed = [(oriented(a), None if b is None else oriented(b)) for a, b in targets]
        return oriented(shown), posed, drawing.source  # type: ignore[return-value]

    def _paste(self, drawing: Drawing, rng: np.random.Generator) -> FloatArray:
        """Blend invented lesions into a real image with soft borders."""
        image = drawing.background
        if image is None or len(drawing.scene.parents) == 1:
            return np.zeros_like(drawing.scene.labels, np.float32) if image is None else image
        size = image.shape[0]
        for region in range(1, len(drawing.scene.parents)):
            mask = drawing.scene.labels == region
            if not mask.any():
                continue
            soft = ndimage.gaussian_filter(mask.astype(np.float32), rng.uniform(0.5, 1.2) * size / 128)
            mean = float(image[mask].mean())
            value = mean + rng.choice([-1, 1]) * rng.uniform(0.08, 0.4)
            value += rng.uniform(0, 0.08) * bank_texture(self.bank, rng, size)
            keep = rng.uniform(0, 0.6)  # what remains of the tissue below
            image = image * (1 - soft) + soft * (value + keep * (image - mean))
        return np.asarray(image, np.float32)

    def _assemble(
        self,
        made: list[tuple[FloatArray, list[Target], int]],
        rng: np.random.Generator,
        size: int,
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
            np.array([source for _, _, source in made]),
        )
        for b, (shown, targets, _) in enumerate(made):
            batch.images[b] = np.round(shown * 255)
            for p, (target, neighbour) in enumerate(targets):
                batch.targets[b, p] = target
                prompt = first_prompt(target, rng, self.bank, neighbour=neighbour)
                batch.points_xy[b, p], batch.point_labels[b, p] = prompt.points_xy, prompt.point_labels
                batch.kinds[b, p] = prompt.kind
                if prompt.box_xyxy is not None:
                    batch.boxes_xyxy[b, p], batch.has_box[b, p] = prompt.box_xyxy, True
                if prompt.mask_logits is not None:
                    batch.mask_logits[b, p], batch.has_mask[b, p] = prompt.mask_logits, True
        return batch


def bank_texture(bank: NoiseBank, rng: np.random.Generator, size: int) -> FloatArray:
    """Cut a texture of random grain."""
    return bank.cut(rng, size, scale_px=float(np.exp(rng.uniform(0, np.log(12)))))


def _one_side(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give right-hand FreeSurfer labels the number of their left-hand twin."""
    pairs = {41: 2, 42: 3, 43: 4, 44: 5, 46: 7, 47: 8, 49: 10, 50: 11, 51: 12, 52: 13, 53: 17, 54: 18, 58: 26, 60: 28}
    table = np.arange(max(int(labels.max()), 60) + 1)
    for right, left in pairs.items():
        table[right] = left
    return table[labels]


def _choose(drawing: Drawing, clean: FloatArray, noise: float, rng: np.random.Generator, count: int) -> list[Target]:
    """Choose `count` targets that can be seen, repeating some if there are fewer."""
    chosen: list[Target] = []
    for _ in range(4 * count):
        if len(chosen) == count:
            break
        target, neighbour = _propose(drawing, rng)
        if target is None:
            continue
        if rng.random() < 0.85:
            target, neighbour = _component(target, neighbour, rng)
        area = int(target.sum())
        if not LEAST_PIXELS * (target.shape[0] / 128) <= area <= LARGEST_SHARE * target.size:
            continue
        if rng.random() < 0.6 and not ndimage.binary_erosion(target).any():  # walls and lines, fewer than there are
            continue
        if drawing.source != 2 and _border_contrast(target, clean) < 0.5 * noise + 0.02 and rng.random() < 0.85:
            continue
        chosen.append((target, neighbour))
    while chosen and len(chosen) < count:
        chosen.append(chosen[rng.integers(len(chosen))])
    return chosen


def _propose(drawing: Drawing, rng: np.random.Generator) -> tuple[BoolArray | None, BoolArray | None]:
    scene = drawing.scene
    regions = len(scene.parents) - 1
    invented = regions > 0 and (drawing.source == 0 or rng.random() < 0.4)
    if drawing.candidates and not invented:
        target, neighbour = drawing.candidates[rng.integers(len(drawing.candidates))]
        return target, neighbour
    if not regions:
        return None, None
    if scene.groups and rng.random() < 0.12:
        members = scene.groups[rng.integers(len(scene.groups))]
        return np.isin(scene.labels, list(members)), None
    region = int(rng.integers(1, regions + 1))
    if rng.random() < 0.45:
        return np.isin(scene.labels, list(scene.family(region))), None
    return scene.labels == region, None


def _component(target: BoolArray, neighbour: BoolArray | None, rng: np.random.Generator) -> Target:
    """Return one connected part of a target, larger ones more often, and what touches it in the neighbour."""
    labelled, count = ndimage.label(target)
    if count < 2:
        return target, neighbour
    areas = np.bincount(labelled.ravel())[1:].astype(float)
    part = labelled == 1 + rng.choice(count, p=areas / areas.sum())
    if neighbour is None:
        return part, None
    other, _ = ndimage.label(neighbour)
    touched = np.unique(other[part])
    return part, np.isin(other, touched[touched > 0])


def _border_contrast(target: BoolArray, clean: FloatArray) -> float:
    """Return the mean step of the clean image across the target's border."""
    steps = []
    for axis in (0, 1):
        image, mask = (clean, target) if axis else (clean.T, target.T)
        border = mask[:, 2:-1] != mask[:, 1:-2]
        steps.append(np.abs(image[:, 3:] - image[:, :-3])[border])
    steps_all = np.concatenate(steps)
    return float(steps_all.mean()) if steps_all.size else 0.0

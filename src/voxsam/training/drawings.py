"""What training images are drawn from: invented scenes, real label maps, real scans; alone or with the next slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.training import anatomy as real
from voxsam.training.anatomy import Anatomy, RealSlice
from voxsam.training.config import Config
from voxsam.training.intensities import degrade, render, to_display
from voxsam.training.noise import FloatArray, NoiseBank
from voxsam.training.scenes import BoolArray, Scene, invent_scene, next_slice, paint_object, plain_frame

__all__ = ["SOURCES", "Artist", "Drawing", "Picture", "Target"]

DType = TypeVar("DType", bound=np.generic)

#: The same structure in two slices near each other; None where that is not known.
Candidate: TypeAlias = tuple[BoolArray, BoolArray | None]

SOURCES = ("invented", "real labels", "real image")
LEAST_PIXELS = 24
LARGEST_SHARE = 0.72
PART_SHARE = 0.07


class Target(NamedTuple):
    """A mask to ask for.

    Parameters
    ----------
    mask : (S, S) bool array
    neighbour : (S, S) bool array or None
        The same structure in a slice nearby.
    faint : bool
        Little or nothing shows where it ends, so that a single click could not say what is meant.
    """

    mask: BoolArray
    neighbour: BoolArray | None
    faint: bool = False


@dataclass(frozen=True, eq=False)
class Drawing:
    """A scene with what could be asked for in it.

    Parameters
    ----------
    source : int
        Index into `SOURCES`.
    scene : Scene
    candidates : list of Candidate
        Real structures.
    background : (S, S) float array or None
        A real image, windowed.
    following : Scene or None
        A slice near by, with the same regions.
    following_background : (S, S) float array or None
    """

    source: int
    scene: Scene
    candidates: list[Candidate]
    background: FloatArray | None = None
    following: Scene | None = None
    following_background: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """A training image with its targets.

    Parameters
    ----------
    shown : (3, S, S) float array in 0..1
    targets : list of Target
    source : int
        Index into `SOURCES`.
    paired : bool
        The picture beside it shows a slice near by.
    """

    shown: FloatArray
    targets: list[Target]
    source: int
    paired: bool = False


class Artist:
    """Draws scenes and takes pictures of them.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.bank = NoiseBank(config.seed)
        folder = config.data_folder
        self.anatomy = Anatomy(folder) if folder is not None and (folder / "cases.json").exists() else None

    def pictures(self, rng: np.random.Generator, size: int) -> list[Picture]:
        """Draw a scene and take pictures: two slices of it that belong together, or several unrelated ones.

        Two slices have the same targets in the same order; what does not reach into the second slice is empty there.
        """
        paired = rng.random() < self.config.pair_share
        drawing = self._draw(rng, size, paired=paired)
        if paired:
            return self._photograph_pair(drawing, rng)
        taken = (self._photograph(drawing, rng) for _ in range(self.config.reuse))
        return [picture for picture in taken if picture is not None]

    def _draw(self, rng: np.random.Generator, size: int, *, paired: bool) -> Drawing:
        share = rng.random() if self.anatomy is not None else 1.0
        if self.anatomy is not None and share < self.config.real_image_share and self.anatomy.scans:
            return self._from_scan(self.anatomy.draw_scan(rng, size), rng, paired=paired)
        if self.anatomy is not None and share < self.config.real_image_share + self.config.real_label_share:
            return self._from_labels(self.anatomy.draw_labels(rng, size), rng, paired=paired)
        scene = invent_scene(rng, self.bank, size, without=self.config.without)
        return Drawing(0, scene, [], following=next_slice(scene, rng, self.bank) if paired else None)

    def _from_labels(self, piece: RealSlice, rng: np.random.Generator, *, paired: bool) -> Drawing:
        size = piece.labels.shape[0]
        scene, following = (Scene(np.zeros((size, size), np.int16)) for _ in range(2))
        brain = np.isin(piece.labels, list(real.BRAIN_LABELS))
        merge = rng.random() < 0.5  # left and right alike, as a reader sees them
        names, twin = piece.labels.astype(np.int64), piece.neighbour.astype(np.int64)
        if merge:
            names, twin = _one_side(names), _one_side(twin)
        nearby: dict[int, BoolArray] = {}
        for name in np.unique(names)[1:]:
            region = scene.paint(names == name, parent=0)
            nearby[region] = twin == name
            following.labels[nearby[region]] = region
        if brain.sum() > LEAST_PIXELS:
            scene.groups.append(set(np.unique(scene.labels[brain]).tolist()) - {0})
        scene.groups.append(set(range(1, len(scene.parents))))
        known = len(scene.parents)
        frame = plain_frame(rng, self.bank, size)
        for _ in range(int(rng.integers(0, 4))):
            paint_object(scene, frame, rng, self.bank)
        candidates: list[Candidate] = [
            (scene.labels == region, nearby[region]) for region in range(1, known) if region in nearby
        ]
        if not paired:
            return Drawing(1, scene, candidates)
        return Drawing(1, scene, candidates, following=_with_objects(following, scene, known))

    def _from_scan(self, piece: RealSlice, rng: np.random.Generator, *, paired: bool) -> Drawing:
        size = piece.labels.shape[0]
        pixels = piece.image if piece.image is not None else np.zeros((size, size), np.float32)
        candidates: list[Candidate] = []
        for name in np.unique(piece.labels[piece.labels > 0]):
            here, nearby = (real.rounded(part == name, piece.blocks_px) for part in (piece.labels, piece.neighbour))
            candidates += [(here, nearby)] * 2
        if not paired:
            candidates += [(mask, None) for mask in real.easy_structures(pixels, piece.kind)]
        both = pixels if piece.neighbour_image is None else np.concatenate([pixels, piece.neighbour_image], 1)
        windowed = real.window_real(both, piece.kind, rng)
        image = windowed[:, :size]
        scene = Scene(np.zeros((size, size), np.int16))
        frame = plain_frame(rng, self.bank, size)
        for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.7 or not candidates else 0):
            inside = image > 0.02
            paint_object(scene, frame, rng, self.bank, within=inside if inside.mean() > 0.05 else None)
        if not paired or piece.neighbour_image is None:
            return Drawing(2, scene, candidates, image)
        return Drawing(2, scene, candidates, image, next_slice(scene, rng, self.bank), windowed[:, size:])

    def _photograph(self, drawing: Drawing, rng: np.random.Generator) -> Picture | None:
        """Give a drawing grey values, noise, a window and an orientation; None if it shows nothing to ask for."""
        clean, image, noise = self._exposed(drawing.scene, drawing.background, rng, rng)
        shown = to_display(image, rng)
        targets = _choose(drawing, clean, noise, rng, self.config.prompts)
        if not targets:
            return None
        pose = Pose.draw(rng)
        return Picture(pose(shown), [pose.of(target) for target in targets], drawing.source)

    def _photograph_pair(self, drawing: Drawing, rng: np.random.Generator) -> list[Picture]:
        """Photograph two slices alike: the same tissue values, window and orientation, noise of their own."""
        if drawing.following is None:
            return []
        seed, size = int(rng.integers(2**62)), drawing.scene.labels.shape[0]
        slices = ((drawing.scene, drawing.background), (drawing.following, drawing.following_background))
        exposed = [self._exposed(scene, back, np.random.default_rng(seed), rng) for scene, back in slices]
        clean, _, noise = exposed[0]
        shown = to_display(np.concatenate([image for _, image, _ in exposed], 1), rng)
        targets = _choose(drawing, clean, noise, rng, self.config.prompts)
        if not targets:
            return []
        pose = Pose.draw(rng)
        posed = [pose.of(target) for target in targets]
        swapped = [Target(there, here, faint) for here, there, faint in posed if there is not None]
        return [
            Picture(pose(shown[..., :size]), posed, drawing.source, paired=True),
            Picture(pose(shown[..., size:]), swapped, drawing.source, paired=True),
        ]

    def _exposed(
        self, scene: Scene, background: FloatArray | None, rng: np.random.Generator, grain: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, float]:
        """Return the clean image, what a scanner makes of it, and the size of its noise."""
        if background is None:
            clean = render(scene, rng, self.bank, grain=grain)
            if "degradation" in self.config.without:
                return clean, clean, 0.0
            return clean, *degrade(clean, rng, self.bank, grain=grain)
        clean = self._paste(scene, background, rng)
        if rng.random() < 0.3 and "degradation" not in self.config.without:
            return clean, *degrade(clean, rng, self.bank, grain=grain)
        return clean, clean, 0.03

    def _paste(self, scene: Scene, image: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Blend invented lesions into a real image with soft borders; each looks alike in both slices of a pair."""
        size, seed = image.shape[0], int(rng.integers(2**62))
        for region in range(1, len(scene.parents)):
            mask, own = scene.labels == region, np.random.default_rng([seed, region])
            if not mask.any():
                continue
            soft = ndimage.gaussian_filter(mask.astype(np.float32), own.uniform(0.5, 1.2) * size / 128)
            mean = float(image[mask].mean())
            value = mean + own.choice([-1, 1]) * own.uniform(0.08, 0.4)
            value += own.uniform(0, 0.08) * _texture(self.bank, own, size)
            keep = own.uniform(0, 0.6)  # what remains of the tissue below
            image = image * (1 - soft) + soft * (value + keep * (image - mean))
        return np.asarray(image, np.float32)


@dataclass(frozen=True)
class Pose:
    """Quarter turns and a flip of (..., S, S) arrays."""

    turn: int
    flip: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Pose:
        """Draw a pose; people lie upright in most views."""
        turn, flip = int(rng.integers(4)), bool(rng.random() < 0.5)
        return cls(0 if rng.random() < 0.5 else turn, flip)

    def __call__(self, array: npt.NDArray[DType]) -> npt.NDArray[DType]:
        turned = np.rot90(array, self.turn, axes=(-2, -1))
        return turned[..., ::-1] if self.flip else turned

    def of(self, target: Target) -> Target:
        """Turn a target with its neighbour."""
        there = None if target.neighbour is None else self(target.neighbour)
        return Target(self(target.mask), there, target.faint)


def _with_objects(following: Scene, scene: Scene, known: int) -> Scene:
    """Paint the objects of a scene, which come after its `known` regions, into the slice that follows it."""
    objects = scene.labels >= known
    following.labels[objects] = scene.labels[objects]
    return Scene(following.labels, list(scene.parents), list(scene.groups))


def _texture(bank: NoiseBank, rng: np.random.Generator, size: int) -> FloatArray:
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
    """Choose `count` targets, repeating some if there are fewer; what cannot be seen is chosen seldom."""
    chosen: list[Target] = []
    for _ in range(4 * count):
        if len(chosen) == count:
            break
        target, neighbour = _propose(drawing, rng)
        if target is None or (drawing.following is not None and neighbour is None):
            continue
        if rng.random() < 0.8:
            target, neighbour = _component(target, neighbour, rng)
        faint = rng.random() < PART_SHARE
        if faint:
            target, neighbour = _part(target, neighbour, rng)
        area = int(target.sum())
        if not LEAST_PIXELS * (target.shape[0] / 128) <= area <= LARGEST_SHARE * target.size:
            continue
        if rng.random() < 0.5 and not ndimage.binary_erosion(target).any():  # walls and lines, fewer than there are
            continue
        if drawing.source != 2 and not faint and _border_contrast(target, clean) < 0.5 * noise + 0.02:
            faint = True
            if rng.random() < 0.6:
                continue
        chosen.append(Target(target, neighbour, faint))
    while chosen and len(chosen) < count:
        chosen.append(chosen[rng.integers(len(chosen))])
    return chosen


def _part(target: BoolArray, neighbour: BoolArray | None, rng: np.random.Generator) -> Candidate:
    """Take a part that no border marks off: one side of a structure, or the layer on one of its sides."""
    radius = max(np.sqrt(target.sum() / np.pi), 2.0)
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.6:
        rows, columns = np.indices(target.shape)
        held = np.argwhere(target)
        middle = held.mean(0) if len(held) else np.zeros(2)
        side = (rows - middle[0]) * np.sin(angle) + (columns - middle[1]) * np.cos(angle) > rng.normal(0, 0.4) * radius
        return target & side, None if neighbour is None else neighbour & side
    depth = rng.uniform(0.15, 0.6) * radius
    shift = (round(depth * np.sin(angle)), round(depth * np.cos(angle)))

    def layer(mask: BoolArray) -> BoolArray:
        return mask & ~np.roll(mask, shift, (0, 1))

    return layer(target), None if neighbour is None else layer(neighbour)


def _propose(drawing: Drawing, rng: np.random.Generator) -> tuple[BoolArray | None, BoolArray | None]:
    scene = drawing.scene
    regions = len(scene.parents) - 1
    invented = regions > 0 and (drawing.source == 0 or rng.random() < 0.4)
    if drawing.candidates and not invented:
        target, neighbour = drawing.candidates[rng.integers(len(drawing.candidates))]
        return target, neighbour
    if not regions:
        return None, None
    if scene.groups and rng.random() < (0.35 if scene.alike else 0.12):
        members = scene.groups[rng.integers(len(scene.groups))]
    else:
        region = int(rng.integers(1, regions + 1))
        members = scene.family(region) if rng.random() < 0.45 else {region}
    here, there = (
        None if slice_ is None else np.isin(slice_.labels, list(members)) for slice_ in (scene, drawing.following)
    )
    return here, there


def _component(target: BoolArray, neighbour: BoolArray | None, rng: np.random.Generator) -> Candidate:
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

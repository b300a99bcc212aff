"""Label maps of invented anatomy: bodies, heads, partitions, and objects inside them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from voxsam.training.noise import FloatArray, NoiseBank
from voxsam.training.solids import Plane, heart, vertebral_column

__all__ = ["Scene", "invent_scene", "next_slice", "paint_object"]

BoolArray = npt.NDArray[np.bool_]

SOLID_SHARE = 0.16
HEART_SHARE = 0.35


@dataclass
class Scene:
    """A label map whose regions form a tree.

    Parameters
    ----------
    labels : (S, S) int array
        0 is air.
    parents : list of int
        Region that each region was painted into; -1 for air.
    groups : list of sets of int
        Regions that make a structure only together.
    alike : dict of int to int
        Regions that are the same tissue as an earlier one: nothing shows where they meet.
    shading : (S, S) float array or None
        How much a pixel differs from its tissue, in shares of one amount that `render` draws: the surface of bone.
    """

    labels: npt.NDArray[np.int16]
    parents: list[int] = field(default_factory=lambda: [-1])
    groups: list[set[int]] = field(default_factory=list)
    alike: dict[int, int] = field(default_factory=dict)
    shading: FloatArray | None = None

    def paint(self, mask: BoolArray, *, parent: int | None = None) -> int:
        """Paint a new region; without a `parent` it lies in what it mostly covers. Returns its label, 0 if empty."""
        under = self.labels[mask]
        if under.size < 4:
            return 0
        if parent is None:
            parent = int(np.bincount(under).argmax())
        self.parents.append(parent)
        self.labels[mask] = len(self.parents) - 1
        return len(self.parents) - 1

    def family(self, region: int) -> set[int]:
        """Return a region with everything painted inside it."""
        family = {region}
        for child in range(region + 1, len(self.parents)):
            if self.parents[child] in family:
                family.add(child)
        return family


@dataclass(frozen=True)
class Frame:
    """Warped coordinates in units of half the image, centred."""

    x: FloatArray
    y: FloatArray

    @property
    def size(self) -> int:
        return int(self.x.shape[0])

    def around(self, x: float, y: float, angle: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """Coordinates moved to (x, y) and turned."""
        dx, dy = self.x - x, self.y - y
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return dx * cosine + dy * sine, dy * cosine - dx * sine


def invent_scene(rng: np.random.Generator, bank: NoiseBank, size: int, *, without: Collection[str] = ()) -> Scene:
    """Draw a scene of a random kind, seen at a random zoom.

    Parameters
    ----------
    rng : numpy Generator
    bank : NoiseBank
    size : int
        Side of the image in pixels.
    without : collection of str
        Parts to leave out, see `config.Config`.
    """
    frame = _frame(rng, bank, size)
    scene = Scene(np.zeros((size, size), np.int16))
    kind = rng.random() if "anatomy" not in without else float(rng.choice([0.6, 0.9]))
    if kind < SOLID_SHARE and not {"anatomy", "solids"} & set(without):
        _solid(scene, frame, rng, bank)
    elif kind < 0.5:
        _body(scene, frame, rng, bank)
    elif kind < 0.64:
        _partition(scene, np.ones((size, size), bool), rng, bank, int(rng.integers(3, 11)))
    elif kind < 0.78:
        _head(scene, frame, rng, bank)
    else:
        if rng.random() < 0.5:
            scene.paint(np.ones((size, size), bool), parent=0)
    for _ in range(rng.integers(2, 9) if kind >= 0.78 else rng.integers(0, 5)):
        paint_object(scene, frame, rng, bank)
    for _ in range(0 if "nesting" in without else rng.integers(0, 5)):
        _lesion(scene, frame, rng, bank)
    return scene


def next_slice(scene: Scene, rng: np.random.Generator, bank: NoiseBank) -> Scene:
    """Draw the same anatomy a little further on: everything moves somewhat, some regions shrink, grow or end."""
    labels = scene.labels.copy()
    size = labels.shape[0]
    for region in range(1, len(scene.parents)):
        if rng.random() < 0.25:
            _resized(labels, region, scene.parents[region], rng)
    pace = np.float32(abs(rng.normal(0, 1)) * size / 128)
    centre = (size - 1) / 2
    grow = 1 + rng.normal(0, 0.02, 2)
    y, x = np.meshgrid(*((np.arange(size) - centre) * side + centre for side in grow), indexing="ij")
    for scale, amount in ((size / 3, 2.0), (size / 10, 0.8)):
        y = y + amount * pace * bank.cut(rng, size, scale_px=scale)
        x = x + amount * pace * bank.cut(rng, size, scale_px=scale)
    rows, columns = (np.clip(np.round(axis), 0, size - 1).astype(np.intp) for axis in (y, x))
    shading = None if scene.shading is None else scene.shading[rows, columns]
    return Scene(labels[rows, columns], list(scene.parents), list(scene.groups), dict(scene.alike), shading)


def _resized(labels: npt.NDArray[np.int16], region: int, parent: int, rng: np.random.Generator) -> None:
    """Let a region end, shrink or grow into its parent, in place."""
    mask = labels == region
    if not mask.any():
        return
    under = max(parent, 0)
    factor = 0.0 if rng.random() < 0.3 else float(rng.uniform(0.4, 1.3))
    labels[mask] = under
    if factor:
        centre = np.argwhere(mask).mean(0)
        y, x = (
            np.clip(np.round(centre[axis] + (np.arange(len(mask)) - centre[axis]) / factor), 0, len(mask) - 1)
            for axis in (0, 1)
        )
        inside = mask[np.ix_(y.astype(np.intp), x.astype(np.intp))]
        labels[inside & (labels == under)] = region


def plain_frame(rng: np.random.Generator, bank: NoiseBank, size: int) -> Frame:
    """Return unzoomed coordinates for objects that are pasted into a real image."""
    return _frame(rng, bank, size, zoom=1.0, shift=0.0)


def _frame(
    rng: np.random.Generator, bank: NoiseBank, size: int, zoom: float | None = None, shift: float = 0.25
) -> Frame:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    if zoom is None:
        zoom = float(np.exp(rng.uniform(np.log(0.45), np.log(1.25))))
    angle = rng.normal(0, 0.3)
    y, x = np.meshgrid(axis * np.float32(zoom), axis * np.float32(zoom), indexing="ij")
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = x * cosine - y * sine, x * sine + y * cosine
    if zoom < 0.9:
        shift = 1.0 - zoom
    x, y = x + np.float32(rng.uniform(-shift, shift)), y + np.float32(rng.uniform(-shift, shift))
    for scale, amount in ((size / 4, 0.06), (size / 10, 0.02)):
        strength = np.float32(amount * rng.uniform(0, 1.6) * zoom)
        x = x + strength * bank.cut(rng, size, scale_px=scale)
        y = y + strength * bank.cut(rng, size, scale_px=scale)
    return Frame(x.astype(np.float32, copy=False), y.astype(np.float32, copy=False))


def _radius(x: FloatArray, y: FloatArray, a: float, b: float, power: float = 2.0) -> FloatArray:
    if power == 2.0:
        radius: FloatArray = np.sqrt((x / np.float32(a)) ** 2 + (y / np.float32(b)) ** 2)
    else:
        powers = (np.abs(x) / np.float32(a)) ** power + (np.abs(y) / np.float32(b)) ** power
        radius = (powers ** np.float32(1 / power)).astype(np.float32, copy=False)
    return radius


def _partition(scene: Scene, inside: BoolArray, rng: np.random.Generator, bank: NoiseBank, parts: int) -> None:
    size = inside.shape[0]
    scale = size / float(np.exp(rng.uniform(np.log(4), np.log(14))))
    best, winner = np.full(inside.shape, -np.inf, np.float32), np.zeros(inside.shape, np.int16)
    for part in range(parts):
        score = bank.cut(rng, size, scale_px=scale) + np.float32(rng.normal(0, 0.4))
        if rng.random() < 0.3:
            score = score + np.float32(0.3) * bank.cut(rng, size, scale_px=max(2, scale / 4))
        better = score > best
        best = np.where(better, score, best)
        winner[better] = part
    parent = int(np.bincount(scene.labels[inside]).argmax()) if inside.any() else 0
    gap = rng.random() < 0.3  # a layer of the parent (fat) between the parts
    for part in range(parts):
        mask = (winner == part) & inside
        if gap:
            mask &= best > np.float32(rng.uniform(0.2, 0.8))
        scene.paint(mask, parent=parent)


def _body(scene: Scene, frame: Frame, rng: np.random.Generator, bank: NoiseBank) -> None:
    a, b, power = rng.uniform(0.6, 0.98), rng.uniform(0.45, 0.9), rng.uniform(1.8, 3.2)
    r = _radius(frame.x, frame.y, a, b, power)
    body = scene.paint(r < 1)  # skin, unless a layer covers it
    edge = 1 - rng.uniform(0.01, 0.03)
    ripple = np.float32(rng.uniform(0, 0.05)) * bank.cut(rng, frame.size, scale_px=frame.size / 12)
    layers = []
    for _ in range(int(rng.integers(1, 4))):  # fat, muscle, cavity
        layers.append(edge)
        edge -= rng.uniform(0.04, 0.2)
    for at in layers:
        body = scene.paint(r < at + ripple, parent=body) or body
    inside = r < edge + ripple
    cavity = scene.paint(inside, parent=body) or body
    if rng.random() < 0.55:
        _partition(scene, inside, rng, bank, int(rng.integers(3, 10)))
    for _ in range(int(rng.integers(2, 12))):
        angle, distance = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * edge
        paint_object(scene, frame, rng, bank, at=(distance * a * np.cos(angle), distance * b * np.sin(angle)))
    _bones(scene, frame, rng, (a, b), at=(layers[-1] + edge) / 2 if rng.random() < 0.6 else edge)
    if rng.random() < 0.6:
        _spine(scene, frame, rng, (0.0, b * rng.uniform(0.4, 0.7)), rng.uniform(0.09, 0.16))
    if rng.random() < 0.3:
        scene.groups.append(scene.family(cavity))


def _bones(scene: Scene, frame: Frame, rng: np.random.Generator, half_axes: tuple[float, float], *, at: float) -> None:
    if rng.random() < 0.25:
        return
    for _ in range(int(rng.integers(2, 12))):
        angle = rng.uniform(0, 2 * np.pi)
        centre = half_axes[0] * at * np.cos(angle), half_axes[1] * at * np.sin(angle)
        x, y = frame.around(*centre, angle + np.pi / 2)
        r = _radius(x, y, rng.uniform(0.03, 0.14), rng.uniform(0.015, 0.045))
        bone = scene.paint(r < 1)
        if bone and rng.random() < 0.6:
            scene.paint(r < rng.uniform(0.4, 0.75), parent=bone)


def _spine(scene: Scene, frame: Frame, rng: np.random.Generator, centre: tuple[float, float], radius: float) -> None:
    x, y = frame.around(*centre)
    vertebral = _radius(x, y, radius, radius * rng.uniform(0.7, 0.9), 2.5)
    arch = _radius(x, y - 1.5 * radius, radius * 0.8, radius * 0.9)
    wings = (np.abs(y - 1.3 * radius) < 0.2 * radius) & (np.abs(x) < 1.8 * radius)
    bone = scene.paint((vertebral < 1) | (arch < 1) | wings)
    if not bone:
        return
    scene.paint(vertebral < rng.uniform(0.75, 0.9), parent=bone)
    canal = scene.paint(arch < 0.65, parent=bone)
    if canal and rng.random() < 0.7:
        scene.paint(arch < 0.4, parent=canal)


def _head(scene: Scene, frame: Frame, rng: np.random.Generator, bank: NoiseBank) -> None:
    size = frame.size
    r = _radius(frame.x, frame.y, rng.uniform(0.65, 0.95), rng.uniform(0.75, 0.98), rng.uniform(1.9, 2.4))
    region, edge = 0, 1.0
    for thickness in rng.uniform(0.015, 0.06, 3):  # scalp, skull, fluid
        region = scene.paint(r < edge, parent=region) or region
        edge -= thickness
    fluid, fold = region, bank.cut(rng, size, scale_px=size / rng.uniform(16, 40))
    depth = edge - r + np.float32(rng.uniform(0.0, 0.04)) * fold
    first = len(scene.parents)
    grey = scene.paint((depth > 0) & ~((np.abs(fold) < rng.uniform(0, 0.3)) & (depth < 0.12)), parent=fluid)
    thickness = np.float32(rng.uniform(0.04, 0.1))
    white = scene.paint((depth > thickness * (1 + np.abs(fold))) & (grey > 0), parent=grey)
    for _ in range(int(rng.integers(1, 6))):
        x, y = frame.around(rng.uniform(-0.3, 0.3), rng.uniform(-0.35, 0.35), rng.uniform(0, np.pi))
        blob = _radius(x, y, rng.uniform(0.05, 0.22), rng.uniform(0.03, 0.1))
        both = (blob < 1) | (blob[:, ::-1] < 1) if rng.random() < 0.5 else blob < 1
        scene.paint(both & (r < 0.8), parent=white or grey)
    scene.groups.append(set(range(first, len(scene.parents))))
    scene.groups.append(set(range(1, len(scene.parents))))


def _solid(scene: Scene, frame: Frame, rng: np.random.Generator, bank: NoiseBank) -> None:
    """Paint what a plane cuts of a vertebral column or a heart, among tissue."""
    everywhere = np.ones((frame.size, frame.size), bool)
    ground = scene.paint(everywhere, parent=0)
    if rng.random() < 0.5:
        _partition(scene, everywhere, rng, bank, int(rng.integers(2, 7)))
    for _ in range(int(rng.integers(0, 7))):
        paint_object(scene, frame, rng, bank)
    reach = float(np.exp(rng.uniform(np.log(1.8), np.log(6.0))))
    plane = Plane.draw(rng, frame.x, frame.y, reach=reach)
    solid = heart(plane, rng) if rng.random() < HEART_SHARE else vertebral_column(plane, rng)
    regions = [scene.paint(mask, parent=ground) for _, mask in solid.parts]
    first: dict[str, int] = {}
    for region, (name, _) in zip(regions, solid.parts, strict=True):
        tissue = name.partition(":")[0]
        if region and first.setdefault(tissue, region) != region:
            scene.alike[region] = first[tissue]
    wholes = ({regions[place] for place in whole} - {0} for whole in solid.wholes)
    scene.groups += [whole for whole in wholes if whole]
    scene.shading = solid.shading


def _level(frame: Frame, rng: np.random.Generator, bank: NoiseBank, centre: tuple[float, float]) -> FloatArray:
    """Return an implicit shape: above 0 inside, near 1 deep inside."""
    size = frame.size
    a = float(np.exp(rng.uniform(np.log(0.035), np.log(0.6))))
    b = a * float(rng.uniform(0.4, 1))
    x, y = frame.around(*centre, rng.uniform(0, np.pi))
    rough = bank.cut(rng, size, scale_px=np.clip(a * size / rng.uniform(2, 8), 1, 64))
    wobble = np.float32(rng.choice([0.0, 0.08, 0.25]) * rng.random())
    kind, level = rng.random(), np.zeros_like(x)
    if kind < 0.45:
        level = 1 - _radius(x, y, a, b, float(rng.choice([2.0, 2.0, 2.0, 3.0, 1.5])))
    elif kind < 0.6:  # tube
        width, length = a * rng.uniform(0.12, 0.4), a * rng.uniform(1.5, 4)
        bend = np.float32(rng.uniform(0, 0.6) * a) * np.sin(x / np.float32(a) * np.float32(rng.uniform(0.5, 2)))
        level = np.minimum(1 - np.abs(y - bend) / np.float32(width), 1 - np.abs(x) / np.float32(length))
    elif kind < 0.7:  # ring or thin wall
        wall = np.float32(rng.uniform(0.06, 0.35))
        level = 1 - np.abs(1 - wall - _radius(x, y, a, b)) / wall
    elif kind < 0.85:  # blob
        level, wobble = 0.8 - _radius(x, y, a, b) ** 2, np.float32(0.6)
    elif kind < 0.94:  # crescent
        shift = np.float32(rng.uniform(0.2, 0.8) * b)
        level = np.minimum(1 - _radius(x, y, a, b), _radius(x, y - shift, a, b) - np.float32(0.9))
    else:  # a cluster of dots
        level, wobble = np.minimum(1 - _radius(x, y, a, a), rough - np.float32(rng.uniform(0.2, 0.9))), np.float32(0)
    return np.asarray(level + wobble * rough, np.float32)


def paint_object(
    scene: Scene,
    frame: Frame,
    rng: np.random.Generator,
    bank: NoiseBank,
    *,
    at: tuple[float, float] | None = None,
    within: BoolArray | None = None,
) -> int:
    """Paint one object, sometimes with a rim and a core; returns its label, 0 if nothing of it is seen."""
    if at is None:
        pick = rng.integers(frame.size, size=2)
        at = float(frame.x[tuple(pick)]), float(frame.y[tuple(pick)])
    level = _level(frame, rng, bank, at)
    mask = level > 0 if within is None else (level > 0) & within
    region = scene.paint(mask)
    if region and rng.random() < 0.22:
        scene.paint(mask & (level > rng.uniform(0.1, 0.5)), parent=region)
    return region


def _lesion(scene: Scene, frame: Frame, rng: np.random.Generator, bank: NoiseBank) -> None:
    y, x = rng.integers(frame.size, size=2)
    host = int(scene.labels[y, x])
    if not host:
        return
    within = scene.labels == host if rng.random() < 0.7 else None
    paint_object(scene, frame, rng, bank, at=(float(frame.x[y, x]), float(frame.y[y, x])), within=within)

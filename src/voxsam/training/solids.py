"""Invented anatomy in space, cut by a plane: vertebral columns and hearts.

Bodies and heads are drawn as slices (`scenes`). Here a slice shows only what it cuts of something solid, because the
parts have no border of their own: where an arch ends and a process begins is known from the shape alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.training.noise import FloatArray

__all__ = ["Plane", "Solid", "heart", "vertebral_column"]

BoolArray = npt.NDArray[np.bool_]
Vector = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Plane:
    """Where the pixels of a slice lie in space: x to one side, y backwards, z downwards.

    Parameters
    ----------
    x, y, z : (S, S) float arrays
    """

    x: FloatArray
    y: FloatArray
    z: FloatArray

    @classmethod
    def draw(cls, rng: np.random.Generator, across: FloatArray, down: FloatArray, *, reach: float) -> Plane:
        """Lay a plane through the origin: axial, sagittal or coronal, tilted a little.

        Parameters
        ----------
        rng : numpy Generator
        across, down : (S, S) float arrays
            Places in the slice, -1..1 from side to side.
        reach : float
            What 1 is in space.
        """
        right, back, below = np.eye(3)
        first, second = ((right, back), (back, below), (right, below))[rng.choice(3, p=(0.45, 0.35, 0.2))]
        turned = _turn(rng.normal(0, 0.5 if rng.random() < 0.2 else 0.12, 3))
        normal = np.cross(first, second)
        places = across[..., None] * (reach * first) + down[..., None] * (reach * second) + normal * rng.normal(0, 0.25)
        x, y, z = np.moveaxis((places @ turned.T).astype(np.float32), -1, 0)
        return cls(x, y, z)

    def moved(self, to: Vector) -> Plane:
        """Return the same pixels seen from another origin."""
        return Plane(self.x - np.float32(to[0]), self.y - np.float32(to[1]), self.z - np.float32(to[2]))


@dataclass(frozen=True, eq=False)
class Solid:
    """What a slice shows of something solid.

    Parameters
    ----------
    parts : list of (str, (S, S) bool array)
        In the order in which they are painted; the name before the colon is the tissue.
    wholes : list of sets of int
        Parts, by their place in the list, that are a structure together.
    shading : (S, S) float array
        1 at the surface of bone, 0 elsewhere.
    """

    parts: list[tuple[str, BoolArray]]
    wholes: list[set[int]]
    shading: FloatArray


def vertebral_column(plane: Plane, rng: np.random.Generator) -> Solid:
    """Cut a column of vertebrae with discs, canal and cord; a vertebral body is about 2 wide."""
    height, gap = float(rng.uniform(0.45, 0.9)), float(rng.uniform(0.12, 0.4))
    pitch = 2 * height + gap
    bend = np.float32(rng.uniform(0, 0.5)) * np.sin(plane.z / np.float32(rng.uniform(4, 9)) + rng.uniform(0, 6))
    straight = Plane(plane.x + np.float32(rng.normal(0, 0.1)) * plane.z, plane.y - bend, plane.z)
    build = _Vertebra.draw(rng, height)
    parts: list[tuple[str, BoolArray]] = []
    wholes: list[set[int]] = []
    canal_y = build.depth + build.canal
    around = ((straight.x / build.canal) ** 2 + ((straight.y - canal_y) / (0.85 * build.canal)) ** 2).astype(np.float32)
    parts.append(("fluid:canal", around < 1))
    parts.append(("cord:cord", around < rng.uniform(0.2, 0.5)))
    wholes.append({0, 1})
    low, high = (int(np.floor(level / pitch)) for level in (float(plane.z.min()), float(plane.z.max())))
    bone, discs = np.zeros(plane.x.shape, bool), np.float32(build.depth)
    for level in range(max(low - 1, -5), min(high + 2, 5) + 1):
        here = straight.moved((0.0, 0.0, level * pitch))
        wide = _round(here.x / 1.03, here.y / discs, 2.5)
        parts.append((f"disc:disc {level}", (wide < 1) & (here.z > height) & (here.z < pitch - height)))
        own = build.parts(here, rng.random() < 0.5)
        wholes.append(set(range(len(parts), len(parts) + len(own))))
        for name, mask in own:
            parts.append((f"bone:{name} {level}", mask & (around >= 1)))
            bone |= parts[-1][1]
    wholes.append(set().union(*wholes[1:]))
    surface = bone & ~ndimage.binary_erosion(bone, iterations=max(1, round(plane.x.shape[0] / 128)))
    return Solid(parts, wholes, surface.astype(np.float32))


@dataclass(frozen=True)
class _Vertebra:
    """The sizes of a vertebra, in halves of the width of its body."""

    height: float
    depth: float
    canal: float
    arch: float
    spinous: float
    slope: float
    wings: float
    rim: float

    @classmethod
    def draw(cls, rng: np.random.Generator, height: float) -> _Vertebra:
        sizes = rng.uniform((0.65, 0.3, 0.16, 0.7, 0.0, 0.9, 0.72), (0.95, 0.6, 0.3, 1.7, 0.9, 1.9, 0.9))
        return cls(height, *sizes.tolist())

    def parts(self, at: Plane, divided: bool) -> list[tuple[str, BoolArray]]:
        """Return what a plane cuts of it: the body, then what is behind it."""
        middle = self.depth + self.canal
        radius = _round(at.x / (1 - 0.06 * np.cos(at.z / self.height)), at.y / self.depth, 2.5)
        body = (radius < 1) & (np.abs(at.z) < self.height)
        core = (radius < self.rim) & (np.abs(at.z) < 0.8 * self.height)
        found = [("body", body)]
        if divided:
            found.append(("endplates", body & (np.abs(at.z) > 0.8 * self.height)))
            found.append(("core", core))
        ring = np.hypot(at.x, at.y - middle)
        lamina = np.abs(at.z - np.float32(0.15) * (at.y - middle)) < 0.75 * self.height
        found.append(
            ("arch", (ring < self.canal + self.arch) & (ring > self.canal) & lamina & (at.y > self.depth - 0.2))
        )
        back, h = middle + self.canal + self.arch / 2, self.height
        for side, name in ((-1.0, "left"), (1.0, "right")):
            foot = (side * (self.canal + self.arch / 2), middle, 0.0)
            tip = (side * self.wings, middle + 0.25, 0.1 * h)
            found.append((f"{name} wing", _capsule(at, foot, tip, 0.2)))
            joint = side * (self.canal + 0.18)
            found.append(
                (f"{name} upper joint", _capsule(at, (joint, middle, -0.3 * h), (joint, middle, -1.05 * h), 0.24))
            )
            lower = (joint, middle + 0.3, 0.3 * h), (joint, middle + 0.3, 1.1 * h)
            found.append((f"{name} lower joint", _capsule(at, *lower, 0.22)))
        end = (0.0, back + self.spinous, self.slope * self.spinous + 0.2 * h)
        found.append(("spinous process", _capsule(at, (0.0, back - 0.05, 0.1 * h), end, 0.2, flat=0.55)))
        return found


def heart(plane: Plane, rng: np.random.Generator) -> Solid:
    """Cut a heart; its left ventricle is about 2 wide, with the long axis along z and the apex below."""
    wall, length = float(rng.uniform(0.14, 0.45)), float(rng.uniform(1.5, 2.4))
    outer = _round3(plane, (1.0, 1.0, length))
    inner = _round3(plane, (1 - wall, 1 - wall, length - wall))
    below = plane.z > -0.25 * length  # the plane of the valves
    aside = plane.moved((-float(rng.uniform(0.7, 1.2)), -float(rng.uniform(0.0, 0.4)), -0.1))
    right = _round3(aside, (float(rng.uniform(0.8, 1.2)), float(rng.uniform(0.9, 1.3)), 0.9 * length))
    rim = float(rng.uniform(0.03, 0.12))
    left_atrium = plane.moved((0.1, 0.2, -0.25 * length - 0.6))
    right_atrium = plane.moved((-1.2, 0.0, -0.25 * length - 0.6))
    atria = [_round3(at, (0.9, 0.8, 0.8)) < 1 for at in (left_atrium, right_atrium)]
    sac = (np.minimum(np.minimum(outer, right), 2.0) < 1.0 + rng.uniform(0.05, 0.3)) & below
    muscles = np.zeros(plane.x.shape, bool)
    for angle in rng.uniform(0, 2 * np.pi, rng.integers(0, 4)):
        at = (0.6 * (1 - wall) * np.cos(angle), 0.6 * (1 - wall) * np.sin(angle))
        muscles |= _capsule(plane, (*at, 0.0), (*at, 0.5 * length), 0.14)
    cavity = (inner < 1) & below
    parts = [
        ("fat:sac", sac | atria[0] | atria[1]),
        ("wall:right wall", (right < 1 + rim) & below),
        ("blood:right ventricle", (right < 1) & below),
        ("wall:left wall", (outer < 1) & below),
        ("blood:left ventricle", cavity),
        ("wall:papillary", muscles & cavity),
        ("blood:left atrium", atria[0] & ~below),
        ("blood:right atrium", atria[1] & ~below),
    ]
    return Solid(parts, [{4, 5}, {4, 5}, {3, 4, 5}, {0, 1, 2, 3, 4, 5, 6, 7}, {1, 2}], np.zeros_like(plane.x))


def _round(x: FloatArray, y: FloatArray, power: float) -> FloatArray:
    radius: FloatArray = ((np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)).astype(np.float32, copy=False)
    return radius


def _round3(at: Plane, radii: Vector) -> FloatArray:
    radius: FloatArray = np.sqrt((at.x / radii[0]) ** 2 + (at.y / radii[1]) ** 2 + (at.z / radii[2]) ** 2)
    return radius.astype(np.float32, copy=False)


def _capsule(at: Plane, start: Vector, end: Vector, radius: float, *, flat: float = 1.0) -> BoolArray:
    """Pixels within a radius of a line in space; `flat` presses it together sideways."""
    along = np.subtract(end, start)
    x, y, z = at.x - np.float32(start[0]), at.y - np.float32(start[1]), at.z - np.float32(start[2])
    share = np.clip((x * along[0] + y * along[1] + z * along[2]) / max(float(along @ along), 1e-6), 0, 1)
    near = ((x - share * along[0]) / flat) ** 2 + (y - share * along[1]) ** 2 + (z - share * along[2]) ** 2
    return np.asarray(near < radius**2, bool)


def _turn(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rotate by small angles about x, y and z, in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turned: npt.NDArray[np.float64] = about_z @ about_y @ about_x
    return turned

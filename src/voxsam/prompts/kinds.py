"""What a user says about one object: points, boxes, scribbles and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from voxsam.cropped import CroppedMask
from voxsam.errors import PromptError
from voxsam.geometry import Geometry
from voxsam.volume import Label, Mask

__all__ = ["Box", "MaskPrompt", "Point", "Prompt", "Scribble", "check_prompts"]

FloatArray = npt.NDArray[np.float64]
Position = tuple[float, float, float]


@dataclass(frozen=True)
class Point:
    """A click: this voxel belongs to the object, or does not.

    Parameters
    ----------
    zyx : tuple of float
        Voxel position; whole numbers are voxel centres.
    positive : bool
        False: the object does not reach here.

    Raises
    ------
    PromptError
        If `zyx` is not three finite numbers.

    Examples
    --------
    >>> Point((42, 210, 180))
    Point(zyx=(42.0, 210.0, 180.0), positive=True)
    """

    zyx: Position
    positive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "zyx", _position(self.zyx, "a point"))
        object.__setattr__(self, "positive", bool(self.positive))

    @classmethod
    def from_ras(cls, ras: Sequence[float], geometry: Geometry, *, positive: bool = True) -> Point:
        """Make a point from a world position (RAS mm).

        Examples
        --------
        >>> grid = Geometry.from_spacing((40, 64, 64), spacing_mm=(5.0, 1.0, 1.0))
        >>> Point.from_ras((10.0, 20.0, 30.0), grid, positive=False)
        Point(zyx=(6.0, 20.0, 10.0), positive=False)
        """
        return cls(_to_voxel(_position(ras, "a point"), geometry), positive)


@dataclass(frozen=True)
class Box:
    """A box around the object: inclusive voxel corners, on one slice or through several.

    Parameters
    ----------
    low_zyx, high_zyx : tuple of float
        Any two opposite corners; sorted at birth. The corner voxels belong to the box.

    Raises
    ------
    PromptError
        If a corner is not three finite numbers, or the box is less than two voxels wide along two axes or more.

    Examples
    --------
    >>> box = Box((42, 280, 120), (42, 150, 300))
    >>> box.low_zyx, box.high_zyx
    ((42.0, 150.0, 120.0), (42.0, 280.0, 300.0))
    >>> box.flat_axis  # on slice 42 of array axis z
    0
    """

    low_zyx: Position
    high_zyx: Position

    def __post_init__(self) -> None:
        one, other = _position(self.low_zyx, "a box corner"), _position(self.high_zyx, "a box corner")
        low, high = np.minimum(one, other), np.maximum(one, other)
        object.__setattr__(self, "low_zyx", _as_position(low))
        object.__setattr__(self, "high_zyx", _as_position(high))
        if len(self._flat_axes) > 1:
            raise PromptError(
                f"the box is empty: expected two voxels or more along at least two axes, got corners "
                f"{self.low_zyx} and {self.high_zyx} (z, y, x); draw it wider, or click a point instead"
            )

    @property
    def _flat_axes(self) -> tuple[int, ...]:
        low, high = _nearest_voxels(np.array([self.low_zyx, self.high_zyx]))
        return tuple(int(axis) for axis in np.flatnonzero(low == high))

    @property
    def flat_axis(self) -> int | None:
        """The array axis along which the box is one voxel thick (a box on a slice); None for one with an extent."""
        flat = self._flat_axes
        return flat[0] if flat else None

    @classmethod
    def from_ras(cls, corner_ras: Sequence[float], other_corner_ras: Sequence[float], geometry: Geometry) -> Box:
        """Make a box from two opposite corners in the world (RAS mm); its sides follow the voxel grid.

        Examples
        --------
        >>> grid = Geometry.from_spacing((40, 64, 64), spacing_mm=(5.0, 1.0, 1.0))
        >>> Box.from_ras((10, 20, 30), (30, 5, 50), grid)
        Box(low_zyx=(6.0, 5.0, 10.0), high_zyx=(10.0, 20.0, 30.0))
        """
        one, other = (_position(corner, "a box corner") for corner in (corner_ras, other_corner_ras))
        return cls(_to_voxel(one, geometry), _to_voxel(other, geometry))

    def clipped_to(self, geometry: Geometry) -> Box:
        """Cut off what lies outside the grid.

        Raises
        ------
        PromptError
            If nothing is left.

        Examples
        --------
        >>> Box((2, -7, 3), (2, 9, 99)).clipped_to(Geometry.from_spacing((4, 32, 32)))
        Box(low_zyx=(2.0, 0.0, 3.0), high_zyx=(2.0, 9.0, 31.0))
        """
        last = np.asarray(geometry.shape) - 1.0
        low, high = np.asarray(self.low_zyx), np.asarray(self.high_zyx)
        if (high < -0.5).any() or (low >= last + 0.5).any():
            raise _outside("a box", np.array([low, high]), geometry)
        return Box(_as_position(np.clip(low, 0.0, last)), _as_position(np.clip(high, 0.0, last)))


@dataclass(frozen=True, eq=False)
class Scribble:
    """A stroke: a polyline through the object, or through what is not the object.

    Parameters
    ----------
    points_zyx : (N, 3) float array
        Voxel positions along the stroke; one or more.
    positive : bool
        False: the object does not reach here.

    Raises
    ------
    PromptError
        If there is no point, or a point is not three finite numbers.

    Examples
    --------
    >>> Scribble([(3, 10, 10), (3, 10, 12)]).voxels_zyx()
    array([[ 3, 10, 10],
           [ 3, 10, 11],
           [ 3, 10, 12]])
    """

    points_zyx: FloatArray
    positive: bool = True

    def __post_init__(self) -> None:
        try:
            points = np.array(self.points_zyx, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise PromptError(f"a scribble is an (N, 3) list of voxel positions (z, y, x): {error}") from error
        if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
            raise PromptError(
                f"a scribble is an (N, 3) list of finite voxel positions (z, y, x), N at least 1; got shape "
                f"{points.shape}{'' if np.isfinite(points).all() else ' with NaN or infinite numbers'}"
            )
        points.flags.writeable = False
        object.__setattr__(self, "points_zyx", points)
        object.__setattr__(self, "positive", bool(self.positive))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scribble):
            return NotImplemented
        return self.positive == other.positive and np.array_equal(self.points_zyx, other.points_zyx)

    def __hash__(self) -> int:
        return hash((self.points_zyx.tobytes(), self.positive))

    @classmethod
    def from_ras(cls, points_ras: npt.ArrayLike, geometry: Geometry, *, positive: bool = True) -> Scribble:
        """Make a scribble from world positions (N, 3), RAS mm.

        Examples
        --------
        >>> grid = Geometry.from_spacing((40, 64, 64), spacing_mm=(5.0, 1.0, 1.0))
        >>> Scribble.from_ras([(1.0, 2.0, 10.0), (3.0, 2.0, 10.0)], grid).points_zyx
        array([[2., 2., 1.],
               [2., 2., 3.]])
        """
        checked = cls(np.asarray(points_ras))  # three finite numbers each, here as in voxels
        return cls(geometry.to_voxel(checked.points_zyx), positive)

    def voxels_zyx(self) -> npt.NDArray[np.int64]:
        """Return the voxels (N, 3) that the stroke passes, each once, in the order of the stroke; no gaps."""
        pieces = [self.points_zyx[:1]]
        for start, end in zip(self.points_zyx[:-1], self.points_zyx[1:], strict=True):
            steps = max(int(np.ceil(np.abs(end - start).max())), 1)  # at most one voxel a step along any axis
            pieces.append(start + (end - start) * (np.arange(1, steps + 1) / steps)[:, None])
        voxels = _nearest_voxels(np.concatenate(pieces))
        _, first = np.unique(voxels, axis=0, return_index=True)
        return voxels[np.sort(first)]


@dataclass(frozen=True, eq=False, init=False)
class MaskPrompt:
    """An earlier or hand-drawn mask of the object; slices that hold any of its voxels count as given.

    It is kept packed, so that hundreds of drawn slices of a large scan fit in memory.

    Parameters
    ----------
    mask : Mask
        Bool; an integer mask with one label is taken as that label.

    Attributes
    ----------
    geometry : Geometry
    packed : CroppedMask
    labels : mapping of int to Label
        The name of what was drawn, where it had one.

    Raises
    ------
    PromptError
        If the mask is empty, or holds several labels.

    Examples
    --------
    >>> drawn = np.zeros((4, 8, 8), bool)
    >>> drawn[2, 3:5, 3:6] = True
    >>> MaskPrompt(Mask(drawn, Geometry.from_spacing((4, 8, 8)))).slices_along(0)
    (2,)
    """

    geometry: Geometry
    packed: CroppedMask
    labels: Mapping[int, Label]

    def __init__(self, mask: Mask) -> None:
        array, labels = mask.array, mask.labels
        if array.dtype != np.bool_:
            if len(mask.values) > 1:
                raise PromptError(
                    f"a mask prompt is of one object, got labels {', '.join(map(str, mask.values))}; "
                    f"choose one: `mask.of_label({mask.values[0]})`"
                )
            named = [labels[value] for value in mask.values if value in labels]
            array, labels = array != 0, dict(enumerate(named, start=1))
        self._set(CroppedMask.of(array), mask.geometry, labels)

    @classmethod
    def of_packed(cls, packed: CroppedMask, geometry: Geometry) -> MaskPrompt:
        """Make one without unpacking the mask.

        Examples
        --------
        >>> grid = Geometry.from_spacing((4, 8, 8))
        >>> drawn = CroppedMask.of_slice(np.ones((8, 8), bool), grid.shape, grid.axes_of("axial"), 2)
        >>> MaskPrompt.of_packed(drawn, grid)
        MaskPrompt(64 voxels, (2, 0, 0) to (2, 7, 7))
        """
        prompt = cls.__new__(cls)
        prompt._set(packed, geometry, {})
        return prompt

    def _set(self, packed: CroppedMask, geometry: Geometry, labels: Mapping[int, Label]) -> None:
        if not packed.packed.size:
            raise PromptError("the mask prompt is empty: expected at least one voxel of the object, got none")
        object.__setattr__(self, "geometry", geometry)
        object.__setattr__(self, "packed", packed)
        object.__setattr__(self, "labels", MappingProxyType(dict(labels)))

    @property
    def mask(self) -> Mask:
        """The whole mask, unpacked anew each time."""
        return Mask(self.packed.to_array(), self.geometry, self.labels)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskPrompt):
            return NotImplemented
        return self.packed == other.packed and self.geometry == other.geometry

    def __hash__(self) -> int:
        return hash((self.geometry, self.packed))

    def __repr__(self) -> str:
        low, high = self.bounds_zyx
        return f"MaskPrompt({self.packed.voxels} voxels, {low} to {high})"

    @cached_property
    def bounds_zyx(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Lowest and highest voxel (both inclusive) that the mask holds."""
        z, y, x = self.packed.high_zyx
        return self.packed.low_zyx, (z - 1, y - 1, x - 1)

    def slices_along(self, axis: int) -> tuple[int, ...]:
        """Return the indices along array axis `axis` at which the mask holds any voxel."""
        return self._slices[axis]

    @cached_property
    def flat_axis(self) -> int | None:
        """The array axis along which it is one voxel thick (drawn on a slice); None for one with an extent."""
        flat = [axis for axis, side in enumerate(self.packed.box_shape) if side == 1]
        return flat[0] if len(flat) == 1 else None

    @cached_property
    def _slices(self) -> tuple[tuple[int, ...], ...]:
        box, low = self.packed.box, self.packed.low_zyx
        held = (np.flatnonzero(box.any(axis=tuple({0, 1, 2} - {axis}))) + low[axis] for axis in range(3))
        return tuple(tuple(indices.tolist()) for indices in held)


Prompt: TypeAlias = Point | Box | Scribble | MaskPrompt


def check_prompts(prompts: Sequence[Prompt], geometry: Geometry) -> None:
    """Raise unless there is a prompt and every prompt lies on the grid.

    Raises
    ------
    PromptError
        If there is none, or one reaches outside; the message has the bounds in voxels and in RAS mm.
    GeometryError
        If a mask prompt is on another grid.

    Examples
    --------
    >>> check_prompts([Point((3, 9, 9))], Geometry.from_spacing((3, 10, 10)))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    voxsam.errors.PromptError: a point lies outside the scan: got voxel (3, 9, 9) (z, y, x), RAS (9, 9, 3) mm; ...
    """
    if not prompts:
        raise PromptError("no prompt: expected a point, a box, a scribble or a mask of the object, got none")
    for prompt in prompts:
        check_prompt(prompt, geometry)


def check_prompt(prompt: Prompt, geometry: Geometry) -> None:
    """Raise unless one prompt lies on the grid; see `check_prompts`."""
    if isinstance(prompt, MaskPrompt):
        geometry.require_same(prompt.geometry, "the mask prompt")
        return
    points = _positions_of(prompt)
    if not geometry.contains(points).all():
        raise _outside(f"a {type(prompt).__name__.lower()}", points, geometry)


def _positions_of(prompt: Point | Box | Scribble) -> FloatArray:
    if isinstance(prompt, Point):
        return np.array([prompt.zyx])
    if isinstance(prompt, Box):
        return np.array([prompt.low_zyx, prompt.high_zyx])
    return prompt.points_zyx


def _outside(what: str, points_zyx: FloatArray, geometry: Geometry) -> PromptError:
    point = points_zyx[~geometry.contains(points_zyx)][:1]
    ras = geometry.to_world(point)[0]
    last = np.array(geometry.shape) - 1.0
    corners = geometry.to_world(list(product(*zip((0.0, 0.0, 0.0), last.tolist(), strict=True))))
    low, high = corners.min(axis=0), corners.max(axis=0)
    return PromptError(
        f"{what} lies outside the scan: got voxel {_short(point[0])} (z, y, x), RAS {_short(ras)} mm; "
        f"expected voxels (0, 0, 0) to {_short(last)}, which is RAS {_short(low)} to {_short(high)} mm"
    )


def _short(position: Sequence[float] | FloatArray) -> str:
    return "(" + ", ".join(f"{value + 0.0:.6g}" for value in position) + ")"


def _position(values: Any, what: str) -> Position:
    """Check three finite numbers."""
    try:
        z, y, x = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} is three numbers, got {values!r}") from error
    if not np.isfinite((z, y, x)).all():
        raise PromptError(f"{what} is three finite numbers, got {(z, y, x)}")
    return z, y, x


def _as_position(values: FloatArray) -> Position:
    z, y, x = values.tolist()
    return z, y, x


def _to_voxel(ras: Position, geometry: Geometry) -> Position:
    return _as_position(geometry.to_voxel([ras])[0])


def _nearest_voxels(points_zyx: FloatArray) -> npt.NDArray[np.int64]:
    return np.floor(points_zyx + 0.5).astype(np.int64)

"""Volume, diameters and intensities of a segmented object, exact on anisotropic and oblique grids.

The diameters are those that RECIST asks for: the longest one within a slice of the plane the scan was taken in, and the
longest perpendicular to it on the same slice.

Convention: a slice's outline runs half way between the centres of a voxel inside and its neighbour outside (the 0.5
level of the mask), neither through centres, which loses a voxel's width, nor around corners, which gains one. So n
voxels in a row measure n spacings, and one voxel alone has its own side as diameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from voxsam.geometry import Plane
from voxsam.volume import Mask, Volume

__all__ = ["Intensity", "Measurements", "measure"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
#: A voxel position (z, y, x); halves are voxel borders.
Position: TypeAlias = tuple[float, float, float]

#: Corners of a 2 × 2 cell that are inside (1 upper left, 2 upper right, 4 lower left, 8 lower right) and the sides that
#: the outline joins there (0 top, 1 left, 2 right, 3 bottom). Voxels that touch at a corner are one piece.
_CROSSINGS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 1),), 2: ((0, 2),), 4: ((1, 3),), 8: ((2, 3),), 3: ((1, 2),), 12: ((1, 2),), 5: ((0, 3),), 10: ((0, 3),),
    7: ((2, 3),), 11: ((1, 3),), 13: ((0, 2),), 14: ((0, 1),), 6: ((0, 1), (2, 3)), 9: ((0, 2), (1, 3)),
}  # fmt: skip
#: Where a cell's sides lie, in (row, column) from its upper left corner.
_SIDES = np.array([(0.0, 0.5), (0.5, 0.0), (0.5, 1.0), (1.0, 0.5)])


@dataclass(frozen=True)
class Intensity:
    """Values of the scan inside an object; voxels without a finite value are left out.

    Parameters
    ----------
    mean, std, minimum, median, maximum : float
        The standard deviation is that of the voxels themselves (divided by their number).
    unit : str
        ``"HU"`` for CT; empty where values have none.
    """

    mean: float
    std: float
    minimum: float
    median: float
    maximum: float
    unit: str = ""


@dataclass(frozen=True)
class Measurements:
    """What an object measures; None where there is nothing to measure.

    Parameters
    ----------
    volume_ml : float
    voxels : int
    longest_mm : float or None
        Longest diameter of one piece within one slice.
    perpendicular_mm : float or None
        Longest chord on that slice, across `longest_mm` at a right angle, with both ends on that piece's outline.
    longest_ends_zyx, perpendicular_ends_zyx : two voxel positions (z, y, x), or None
    slice_index : int or None
        Along the plane's normal array axis.
    plane : {"axial", "coronal", "sagittal"}
        In which the diameters lie.
    intensity : Intensity or None
    """

    volume_ml: float
    voxels: int
    longest_mm: float | None
    perpendicular_mm: float | None
    longest_ends_zyx: tuple[Position, Position] | None
    perpendicular_ends_zyx: tuple[Position, Position] | None
    slice_index: int | None
    plane: Plane
    intensity: Intensity | None


def measure(mask: Mask, volume: Volume | None = None, *, plane: Plane | None = None) -> Measurements:
    """Measure everything in a mask that is not background, as one object.

    Parameters
    ----------
    mask : Mask
        For one label of several, `Mask.of_label`.
    volume : Volume, optional
        The scan, for its intensities.
    plane : {"axial", "coronal", "sagittal"}, optional
        Of the diameters; the plane the scan was taken in unless said.

    Returns
    -------
    Measurements

    Raises
    ------
    GeometryError
        If the scan lies on another grid, or the plane is unknown.

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> block = np.zeros((3, 20, 20), bool)
    >>> block[1, 5:9, 2:5] = True  # 4 rows of 0.5 mm, 3 columns of 2 mm
    >>> found = measure(Mask(block, Geometry.from_spacing(block.shape, spacing_mm=(5.0, 0.5, 2.0))))
    >>> found.voxels, found.slice_index
    (12, 1)
    >>> round(found.longest_mm, 3), found.longest_ends_zyx
    (6.185, ((1.0, 5.0, 1.5), (1.0, 8.0, 4.5)))
    """
    geometry = mask.geometry
    if volume is not None:
        volume.geometry.require_same(geometry, "the mask")
    plane = plane or geometry.native_plane
    axes = geometry.axes_of(plane)
    box = _box_of(mask.array)
    inside = mask.array[box] != 0
    voxels = int(np.count_nonzero(inside))
    if not voxels:
        return Measurements(0.0, 0, None, None, None, None, None, plane, None)

    # (row, column) times this are millimetres at right angles, whatever the tilt or shear of the grid
    steps = geometry.affine[:3, [axes.row, axes.column]]
    to_mm = np.asarray(np.linalg.cholesky(steps.T @ steps).T, dtype=np.float64)
    number, ends = _diameters(np.moveaxis(inside, (axes.normal, axes.row, axes.column), (0, 1, 2)), to_mm)
    longest, perpendicular = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1).tolist()
    positions = np.full((2, 2, 3), float(number))
    positions[..., [axes.row, axes.column]] = np.round(ends @ np.linalg.inv(to_mm).T, 9)
    positions += [part.start for part in box]
    return Measurements(
        volume_ml=voxels * geometry.voxel_volume_mm3 / 1000.0,
        voxels=voxels,
        longest_mm=longest,
        perpendicular_mm=perpendicular,
        longest_ends_zyx=_pair(positions[0]),
        perpendicular_ends_zyx=_pair(positions[1]),
        slice_index=number + box[axes.normal].start,
        plane=plane,
        intensity=None if volume is None else _intensity(volume, box, inside),
    )


def _diameters(slices: BoolArray, to_mm: FloatArray) -> tuple[int, FloatArray]:
    """Find the longest diameter of all pieces of all slices, and its perpendicular.

    Returns
    -------
    number : int
        Of the slice.
    ends : (2, 2, 2) float array
        Of the longest, then of its perpendicular; in (row, column) times `to_mm`.
    """
    longest, number, outline, ends = 0.0, 0, np.empty((0, 2, 2)), np.empty((2, 2))
    for index, piece, corner in _pieces(slices):
        if np.linalg.norm(to_mm * piece.shape, axis=0).sum() <= longest:
            continue  # even its box is no longer
        segments = (_outline(piece) + corner) @ to_mm.T
        farthest, length = _farthest(segments.reshape(-1, 2))
        if length > longest:
            longest, number, outline, ends = length, index, segments, farthest
    return number, np.stack([ends, _across(outline, ends)])


def _pair(ends: FloatArray) -> tuple[Position, Position]:
    first, second = sorted((row[0], row[1], row[2]) for row in ends.tolist())
    return first, second


def _box_of(array: npt.NDArray[np.generic]) -> tuple[slice, slice, slice]:
    held = array.astype(bool, copy=False)
    ends = [np.flatnonzero(held.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    z, y, x = (slice(int(end[0]), int(end[-1]) + 1) if end.size else slice(0, 0) for end in ends)
    return z, y, x


def _intensity(volume: Volume, box: tuple[slice, slice, slice], inside: BoolArray) -> Intensity | None:
    values = volume.array[box][inside].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    return Intensity(
        mean=float(values.mean()),
        std=float(values.std()),
        minimum=float(values.min()),
        median=float(np.median(values)),
        maximum=float(values.max()),
        unit="HU" if volume.modality == "CT" else "",
    )


def _pieces(slices: BoolArray) -> Iterator[tuple[int, BoolArray, tuple[int, int]]]:
    """Yield each connected piece of each slice: the slice's number, the piece in its box, the box's first corner."""
    for number, inside in enumerate(slices):
        numbered, _ = ndimage.label(inside, np.ones((3, 3)))
        for label, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
            yield number, numbered[rows, columns] == label, (rows.start, columns.start)


def _outline(piece: BoolArray) -> FloatArray:
    """Return the 0.5 level of a piece, holes included: (N, 2, 2) segments from (row, column) to (row, column)."""
    held = np.pad(piece, 1).astype(np.uint8)
    cells = held[:-1, :-1] + 2 * held[:-1, 1:] + 4 * held[1:, :-1] + 8 * held[1:, 1:]
    rows, columns = np.nonzero((cells > 0) & (cells < 15))
    corners, kinds = np.stack([rows, columns], axis=1) - 1.0, cells[rows, columns]  # less the padding's width
    found: list[FloatArray] = []
    for kind, crossings in _CROSSINGS.items():
        found.extend(corners[kinds == kind][:, None] + _SIDES[list(crossing)] for crossing in crossings)
    return np.concatenate(found)


def _farthest(points: FloatArray) -> tuple[FloatArray, float]:
    """Return the two points (2, 2) that lie farthest apart, and how far."""
    hull = points[ConvexHull(points).vertices]
    apart = cdist(hull, hull)
    first, second = np.unravel_index(int(apart.argmax()), apart.shape)
    return hull[[first, second]], float(apart[first, second])


def _across(segments: FloatArray, ends: FloatArray) -> FloatArray:
    """Return the ends (2, 2) of the longest chord of an outline at a right angle to the line between `ends`.

    Between two of its vertices, an outline's width is a difference of straight lines, or bends outward: the widest
    place is at a vertex.
    """
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    frame = np.stack([along, [-along[1], along[0]]])
    turned = segments @ frame.T
    turned = np.take_along_axis(turned, turned[..., :1].argsort(axis=1, kind="stable"), axis=1)
    (start, low), (stop, high) = turned[:, 0].T, turned[:, 1].T
    places = np.unique(turned[..., 0])
    first, last = np.searchsorted(places, start), np.searchsorted(places, stop)
    counts = last - first + 1
    which = np.repeat(np.arange(len(turned)), counts)
    at = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + first[which]
    length = stop - start
    share = np.divide(places[at] - start[which], length[which], out=np.zeros(len(at)), where=length[which] > 0)
    height = low[which] + share * (high - low)[which]
    upper, lower = np.full(len(places), -np.inf), np.full(len(places), np.inf)
    np.maximum.at(upper, at, height)
    np.minimum.at(lower, at, height)
    upright = length == 0  # such a segment has two heights at one place
    np.maximum.at(upper, first[upright], high[upright])
    np.minimum.at(lower, first[upright], high[upright])
    widest = int((upper - lower).argmax())
    chord: FloatArray = np.array([(places[widest], lower[widest]), (places[widest], upper[widest])]) @ frame
    return chord

"""Where a voxel grid sits in the patient: shape, affine, spacing, orientation, anatomical planes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from voxsam.errors import GeometryError

__all__ = ["PLANES", "Geometry", "Plane", "PlaneAxes"]

FloatArray = npt.NDArray[np.float64]
Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = get_args(Plane)

#: World axis (0 R, 1 A, 2 S) along which the slices of a plane follow one another.
_NORMAL_WORLD_AXIS: dict[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}

#: World directions in which the rows and columns of a displayed slice run: radiological convention, so the
#: patient's right is on the image's left, anterior (axial) or superior (coronal, sagittal) on top.
_DISPLAY: dict[Plane, tuple[tuple[int, int], tuple[int, int]]] = {
    "axial": ((1, -1), (0, -1)),  # rows to posterior, columns to left
    "coronal": ((2, -1), (0, -1)),  # rows to inferior, columns to left
    "sagittal": ((2, -1), (1, -1)),  # rows to inferior, columns to posterior
}


@dataclass(frozen=True)
class PlaneAxes:
    """Which array axes a slice of an anatomical plane shows, and which way round.

    Attributes
    ----------
    normal, row, column : int
        Array axes (0 z, 1 y, 2 x): across the slices, down the rows, along the columns.
    row_flip, column_flip : bool
        True where the display runs against the array index.
    """

    normal: int
    row: int
    column: int
    row_flip: bool
    column_flip: bool


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where a voxel grid sits in the patient.

    Parameters
    ----------
    shape : tuple of int, (Z, Y, X)
        Voxels along each array axis.
    affine : (4, 4) float array
        Maps homogeneous voxel indices ``(z, y, x, 1)`` to world millimetres,
        RAS+ (x grows to the patient's right, y to anterior, z to superior).

    Raises
    ------
    GeometryError
        If `shape` is not three positive numbers, or `affine` is not (4, 4), not finite, or singular.

    Examples
    --------
    >>> grid = Geometry.from_spacing((40, 512, 512), spacing_mm=(5.0, 0.7, 0.7))
    >>> grid.to_world([[1, 0, 0]])  # one slice up is 5 mm towards the head
    array([[0., 0., 5.]])
    >>> grid.orientation
    'SAR'
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"shape must be three positive numbers (Z, Y, X), got {tuple(self.shape)}")
        affine = np.array(self.affine, dtype=np.float64) + 0.0  # own copy; -0.0 becomes 0.0: equal grids hash alike
        if affine.shape != (4, 4):
            raise GeometryError(f"affine must be (4, 4), got {affine.shape}")
        if not np.isfinite(affine).all():
            raise GeometryError(f"affine must be finite, got {_on_one_line(affine)}")
        if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
            raise GeometryError(f"the last row of an affine must be 0 0 0 1, got {affine[3]}")
        if np.linalg.matrix_rank(affine[:3, :3]) < 3:  # not det == 0: micro-CT voxels are 1e-9 mm3
            raise GeometryError(f"affine is singular, so voxels have no volume: {_on_one_line(affine)}")
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geometry):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    @classmethod
    def from_spacing(
        cls,
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
        origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Geometry:
        """Make an upright grid: z to superior, y to anterior, x to the right.

        Parameters
        ----------
        shape : tuple of int, (Z, Y, X)
        spacing_mm : tuple of float
            Between voxel centres, along (z, y, x).
        origin_mm : tuple of float
            World position (RAS) of the centre of voxel (0, 0, 0).
        """
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2] = spacing_mm
        affine[:3, 3], affine[3, 3] = origin_mm, 1.0
        return cls(shape, affine)

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x)."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return (z, y, x)

    @cached_property
    def directions(self) -> FloatArray:
        """(3, 3) unit vectors: column k is the world direction of array axis k."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing_mm), dtype=np.float64)

    @cached_property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def world_axes(self) -> tuple[int, int, int]:
        """World axis (0 R, 1 A, 2 S) nearest to each array axis; each world axis is taken once."""
        closeness = np.abs(self.directions)
        best = max(permutations(range(3)), key=lambda p: closeness[p[0], 0] * closeness[p[1], 1] * closeness[p[2], 2])
        return best[0], best[1], best[2]

    @cached_property
    def orientation(self) -> str:
        """Three letters: the anatomical direction in which each array axis (z, y, x) grows."""
        letters = ("LR", "PA", "IS")
        return "".join(letters[w][int(self.directions[w, k] > 0)] for k, w in enumerate(self.world_axes))

    @cached_property
    def bounds_ras(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Lowest and highest world corner (RAS mm) of the grid, voxel edges included."""
        corners = np.array(list(product(*((-0.5, n - 0.5) for n in self.shape))))
        world = self.to_world(corners)
        low, high = world.min(axis=0).tolist(), world.max(axis=0).tolist()
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def to_world(self, points_zyx: npt.ArrayLike) -> FloatArray:
        """Map voxel positions to world millimetres.

        Parameters
        ----------
        points_zyx : (N, 3) array_like
            Voxel positions; whole numbers are voxel centres.

        Returns
        -------
        (N, 3) float array
            RAS millimetres.
        """
        points = np.asarray(points_zyx, dtype=np.float64)
        world = points @ self.affine[:3, :3].T + self.affine[:3, 3]
        return np.asarray(world, dtype=np.float64)

    def to_voxel(self, points_ras: npt.ArrayLike) -> FloatArray:
        """Map world millimetres (N, 3), RAS, to voxel positions (N, 3), zyx.

        Examples
        --------
        >>> Geometry.from_spacing((4, 4, 4), spacing_mm=(5.0, 1.0, 1.0)).to_voxel([[2.0, 1.0, 5.0]])
        array([[1., 1., 2.]])
        """
        points = np.asarray(points_ras, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(np.linalg.solve(self.affine[:3, :3], points.T).T, dtype=np.float64)

    def contains(self, points_zyx: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Say for each voxel position (N, 3) whether its nearest voxel, ``floor(position + 0.5)``, is in the grid.

        Examples
        --------
        >>> Geometry.from_spacing((4, 4, 4)).contains([[3.4, 0, -0.5], [3.5, 0, 0]])
        array([ True, False])
        """
        nearest = np.floor(np.asarray(points_zyx, dtype=np.float64) + 0.5)
        return np.asarray(((nearest >= 0) & (nearest < self.shape)).all(axis=-1))

    def axes_of(self, plane: Plane) -> PlaneAxes:
        """Tell which array axes a slice of `plane` shows; oblique grids take the nearest axes.

        Examples
        --------
        >>> Geometry.from_spacing((40, 512, 512)).axes_of("axial")
        PlaneAxes(normal=0, row=1, column=2, row_flip=True, column_flip=True)
        """
        if plane not in PLANES:
            raise GeometryError(f"no plane {plane!r}; choose one of {', '.join(PLANES)}")
        array_axis = {world: axis for axis, world in enumerate(self.world_axes)}
        (row_world, row_sign), (column_world, column_sign) = _DISPLAY[plane]
        row, column = array_axis[row_world], array_axis[column_world]
        return PlaneAxes(
            normal=array_axis[_NORMAL_WORLD_AXIS[plane]],
            row=row,
            column=column,
            row_flip=bool(self.directions[row_world, row] * row_sign < 0),
            column_flip=bool(self.directions[column_world, column] * column_sign < 0),
        )

    def plane_across(self, axis: int) -> Plane:
        """Name the plane whose slices follow one another along array axis `axis`."""
        world = self.world_axes[axis]
        return next(plane for plane, normal in _NORMAL_WORLD_AXIS.items() if normal == world)

    @cached_property
    def native_plane(self) -> Plane:
        """The plane the scan was taken in: across its coarsest axis; axial where two are as coarse (within 1 %).

        A PET scan with wide square pixels and thin slices was still taken in axial slices.
        """
        *_, second, coarsest = np.argsort(self.spacing_mm, kind="stable").tolist()
        if self.spacing_mm[second] * 1.01 >= self.spacing_mm[coarsest]:
            return "axial"
        return self.plane_across(coarsest)

    def require_same(self, other: Geometry, what: str) -> None:
        """Raise `GeometryError` unless `other` is this grid (affines within 1e-4 mm)."""
        if self.shape == other.shape and np.allclose(self.affine, other.affine, rtol=0.0, atol=1e-4):
            return
        raise GeometryError(
            f"{what} is on another grid: expected shape {self.shape}, spacing {_rounded(self.spacing_mm)} mm, "
            f"orientation {self.orientation}; got shape {other.shape}, spacing {_rounded(other.spacing_mm)} mm, "
            f"orientation {other.orientation}. Resample it onto the scan first."
        )


def _rounded(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values)


def _on_one_line(affine: FloatArray) -> str:
    return "[" + "; ".join(" ".join(f"{value:g}" for value in row) for row in affine) + "]"

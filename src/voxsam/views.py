"""A volume as 2D views with square pixels, and the exact way from voxels to a view's pixels and back."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from voxsam.enhance import OnProgress, check_enhancements, clahe, enhance_volume
from voxsam.errors import GeometryError, WindowError
from voxsam.geometry import PLANES, Geometry, Plane, PlaneAxes
from voxsam.volume import Volume
from voxsam.windowing import Window

__all__ = ["LONGEST_SIDE", "OUTSIDE_LOGIT", "Region", "SliceStack", "View", "ViewFrame", "slice_of"]

FloatArray = npt.NDArray[np.float32]

#: (row_start, row_stop, column_start, column_stop) in array indices of a slice, half-open.
Region: TypeAlias = tuple[int, int, int, int]

#: A view has at most this many pixels along its longer side.
LONGEST_SIDE: Final = 1024
#: What `ViewFrame.view_to_slice` puts where a view shows nothing: surely not the object, and safe in half precision.
OUTSIDE_LOGIT: Final = -32.0
#: Spacings that differ by less than this share are taken as alike: resampling would only blur.
_ALIKE = 0.01


@dataclass(frozen=True)
class View:
    """Which picture of a volume is meant: a plane, a slice, windows, perhaps a region of the slice.

    Parameters
    ----------
    plane : {"axial", "coronal", "sagittal"}
    index : int
        Index of the slice along the plane's normal array axis.
    windows : tuple of 1 or 3 Window
        One grey value, or three channels.
    region : (row_start, row_stop, column_start, column_stop) or None
        Array indices in the slice, half-open; None for the whole slice. Rows and columns are those of
        ``geometry.axes_of(plane)``, counted as the array counts them.
    enhance : tuple of str
        Names of `voxsam.enhance.ENHANCEMENTS`.

    Raises
    ------
    GeometryError
        If the plane is unknown, the index negative or the region empty.
    WindowError
        If there are not 1 or 3 windows, or an enhancement is unknown.

    Examples
    --------
    >>> View("axial", 42, (Window(400, 40),), region=(10, 90, 20, 100)).key
    'axial-42_w400l40_r10-90-20-100'
    """

    plane: Plane
    index: int
    windows: tuple[Window, ...]
    region: Region | None = None
    enhance: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.plane not in PLANES:
            raise GeometryError(f"no plane {self.plane!r}; choose one of {', '.join(PLANES)}")
        if self.index < 0:
            raise GeometryError(f"a slice index counts from 0, got {self.index}")
        if len(self.windows) not in (1, 3):
            raise WindowError(f"a view has one window, or three (one a channel), got {len(self.windows)}")
        if self.region is not None:
            region = tuple(int(n) for n in self.region)
            if len(region) != 4 or min(region) < 0 or region[0] >= region[1] or region[2] >= region[3]:
                raise GeometryError(f"a region is row start, stop, column start, stop and not empty, got {self.region}")
            object.__setattr__(self, "region", region)
        object.__setattr__(self, "index", int(self.index))
        object.__setattr__(self, "windows", tuple(self.windows))
        object.__setattr__(self, "enhance", check_enhancements(self.enhance))

    @property
    def key(self) -> str:
        """The same text for the same picture, in this and in every other process; fit for a file name."""
        parts = [f"{self.plane}-{self.index}"]
        parts += [f"w{window.width:.9g}l{window.level:.9g}" for window in self.windows]
        if self.region is not None:
            parts.append("r" + "-".join(str(n) for n in self.region))
        return "_".join([*parts, *self.enhance])


@dataclass(frozen=True)
class ViewFrame:
    """The exact mapping between voxels and the pixels of a view.

    A view shows its region edge to edge: flipped and transposed to the display's orientation, and resampled so
    that pixels are square. Whole numbers are centres, of voxels and of pixels.

    Parameters
    ----------
    axes : PlaneAxes
        Which array axes the view shows.
    index : int
        Of the slice.
    slice_shape : tuple of int, (rows, columns)
        Of the whole slice, in array order.
    region : (row_start, row_stop, column_start, column_stop)
        What of it the view shows.
    shape : tuple of int, (H, W)
        Pixels of the view.
    pixel_mm : tuple of float
        Between pixel centres down the rows and along the columns; alike up to the rounding of `shape`.

    Examples
    --------
    >>> grid = Geometry.from_spacing((10, 64, 64), spacing_mm=(5.0, 1.0, 1.0))
    >>> frame = ViewFrame.of(grid, "coronal", 7)
    >>> frame.shape  # 10 slices of 5 mm
    (50, 64)
    >>> frame.to_xy([[9, 7, 63]])  # the highest slice is on top, the patient's right on the left
    array([[0., 2.]])
    >>> frame.to_zyx([[0.0, 2.0]])
    array([[ 9.,  7., 63.]])
    """

    axes: PlaneAxes
    index: int
    slice_shape: tuple[int, int]
    region: Region
    shape: tuple[int, int]
    pixel_mm: tuple[float, float]

    @classmethod
    def of(cls, geometry: Geometry, plane: Plane, index: int, region: Region | None = None) -> ViewFrame:
        """Work out the frame of a slice, or of a region of it.

        Parameters
        ----------
        geometry : Geometry
        plane : {"axial", "coronal", "sagittal"}
        index : int
        region : Region, optional

        Raises
        ------
        GeometryError
            If the index or the region lies outside the grid.
        """
        axes = geometry.axes_of(plane)
        if not 0 <= index < geometry.shape[axes.normal]:
            raise GeometryError(f"no {plane} slice {index}: this scan has 0 to {geometry.shape[axes.normal] - 1}")
        rows, columns = geometry.shape[axes.row], geometry.shape[axes.column]
        region = (0, rows, 0, columns) if region is None else region
        if region[0] < 0 or region[2] < 0 or region[1] > rows or region[3] > columns:
            raise GeometryError(f"region {region} leaves the {plane} slice of {rows} rows and {columns} columns")
        counts = (region[1] - region[0], region[3] - region[2])
        spacing = (geometry.spacing_mm[axes.row], geometry.spacing_mm[axes.column])
        shape = _square_shape(counts, spacing)
        pixel_mm = (counts[0] * spacing[0] / shape[0], counts[1] * spacing[1] / shape[1])
        return cls(axes, index, (rows, columns), region, shape, pixel_mm)

    def to_xy(self, points_zyx: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map voxel positions (N, 3) to pixels (N, 2), column x first; those outside the region fall outside."""
        points = np.asarray(points_zyx, dtype=np.float64).reshape(-1, 3)
        (row_start, row_stop, column_start, column_stop), (height, width) = self.region, self.shape
        y = (points[:, self.axes.row] - row_start + 0.5) * (height / (row_stop - row_start)) - 0.5
        x = (points[:, self.axes.column] - column_start + 0.5) * (width / (column_stop - column_start)) - 0.5
        return np.stack(
            [width - 1 - x if self.axes.column_flip else x, height - 1 - y if self.axes.row_flip else y], axis=1
        )

    def to_zyx(self, points_xy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map pixels (N, 2), column x first, to voxel positions (N, 3) on this slice."""
        points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)
        (row_start, row_stop, column_start, column_stop), (height, width) = self.region, self.shape
        x = width - 1 - points[:, 0] if self.axes.column_flip else points[:, 0]
        y = height - 1 - points[:, 1] if self.axes.row_flip else points[:, 1]
        zyx = np.empty((len(points), 3))
        zyx[:, self.axes.normal] = self.index
        zyx[:, self.axes.row] = (y + 0.5) * ((row_stop - row_start) / height) - 0.5 + row_start
        zyx[:, self.axes.column] = (x + 0.5) * ((column_stop - column_start) / width) - 0.5 + column_start
        return zyx

    def slice_to_view(self, values: npt.NDArray[Any], *, order: int = 1) -> npt.NDArray[Any]:
        """Show a slice as the view does.

        Parameters
        ----------
        values : (rows, columns) array
            The whole slice in array order, see `slice_of`.
        order : {1, 0}
            1: linear, averaging where the view is coarser; 0: the nearest voxel, for labels.

        Returns
        -------
        (H, W) array
            float32 for order 1, else of the same dtype.

        Raises
        ------
        GeometryError
            If `values` is not a whole slice.
        """
        if values.shape != self.slice_shape:
            raise GeometryError(f"expected a whole slice {self.slice_shape} (rows, columns), got {values.shape}")
        row_start, row_stop, column_start, column_stop = self.region
        shown = _resample(values[row_start:row_stop, column_start:column_stop], self.shape, order, True)
        return np.ascontiguousarray(self._flipped(shown))  # torch takes no negative strides

    def view_to_slice(
        self, values: npt.NDArray[Any], *, order: int = 1, fill: float = OUTSIDE_LOGIT
    ) -> npt.NDArray[Any]:
        """Bring something drawn on the view back to the whole slice.

        Parameters
        ----------
        values : (H, W) array
            Such as logits.
        order : {1, 0}
            1: linear at voxel centres; 0: the nearest pixel, for labels.
        fill : float
            Outside the region.

        Returns
        -------
        (rows, columns) array
            The whole slice in array order; float32 for order 1, else of the same dtype.

        Raises
        ------
        GeometryError
            If `values` does not have the view's shape.
        """
        if values.shape != self.shape:
            raise GeometryError(f"expected the view's shape {self.shape} (H, W), got {values.shape}")
        row_start, row_stop, column_start, column_stop = self.region
        counts = (row_stop - row_start, column_stop - column_start)
        inside = _resample(self._flipped(values), counts, order, False)
        if counts == self.slice_shape:
            return np.ascontiguousarray(inside)
        whole = np.full(self.slice_shape, fill, dtype=inside.dtype)
        whole[row_start:row_stop, column_start:column_stop] = inside
        return whole

    def _flipped(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn between array order and display order, the same way both ways."""
        return values[:: -1 if self.axes.row_flip else 1, :: -1 if self.axes.column_flip else 1]


class SliceStack:
    """A volume seen as views: windowed, enhanced, with square pixels, made when asked for.

    Parameters
    ----------
    volume : Volume
        Never written to.
    enhance : iterable of str
        Names of `voxsam.enhance.ENHANCEMENTS` that every view of this stack has. What needs the whole volume
        (``"n4"``, ``"denoise"``) is computed once, by the first view that wants it or by `prepare`.

    Raises
    ------
    WindowError
        If an enhancement is unknown.

    Examples
    --------
    >>> from voxsam.windowing import choose_window
    >>> scan = Volume(np.zeros((4, 32, 48), np.int16), Geometry.from_spacing((4, 32, 48)), modality="CT")
    >>> stack = SliceStack(scan)
    >>> stack.pixels(stack.view("axial", 2, choose_window(scan, "liver"))).shape
    (32, 48, 3)
    """

    def __init__(self, volume: Volume, *, enhance: Iterable[str] = ()) -> None:
        self.volume = volume
        self.enhance = check_enhancements(enhance)
        self._enhanced: dict[tuple[str, ...], Volume] = {(): volume}
        self._lock = threading.Lock()

    def view(self, plane: Plane, index: int, windows: tuple[Window, ...], region: Region | None = None) -> View:
        """Name a view with this stack's enhancements in it."""
        return View(plane, index, windows, region, self.enhance)

    def resolve(self, view: View) -> View:
        """Return the view with this stack's enhancements added to its own: what `pixels` shows, and its key."""
        return replace(view, enhance=(*self.enhance, *view.enhance))

    def frame(self, view: View) -> ViewFrame:
        """Return the exact mapping between voxels and the view's pixels."""
        return ViewFrame.of(self.volume.geometry, view.plane, view.index, view.region)

    def pixels(self, view: View) -> FloatArray:
        """Make the picture.

        Parameters
        ----------
        view : View

        Returns
        -------
        (H, W, 3) float32 array in 0..1
            In display orientation, with square pixels; NaN is black.

        Raises
        ------
        GeometryError
            If the view lies outside the volume.
        """
        frame, enhance = self.frame(view), self.resolve(view).enhance
        values = slice_of(self.prepare(enhance).array, frame.axes, frame.index)
        spacing = self.volume.geometry.spacing_mm
        channels = []
        for window in view.windows:
            grey = window.apply(values)
            if "clahe" in enhance:  # on the whole slice, so that a region looks as it does there
                grey = clahe(grey, pixel_mm=(spacing[frame.axes.row], spacing[frame.axes.column]))
            channels.append(np.clip(frame.slice_to_view(grey), 0.0, 1.0))
        picture = np.empty((*frame.shape, 3), np.float32)
        picture[...] = np.stack(channels, axis=-1)
        return picture

    def prepare(self, enhance: Iterable[str] = (), *, on_progress: OnProgress | None = None) -> Volume:
        """Compute what needs the whole volume, once, and return the enhanced volume.

        Parameters
        ----------
        enhance : iterable of str
            On top of the stack's own.
        on_progress : callable, optional
            See `voxsam.enhance.enhance_volume`.

        Returns
        -------
        Volume
            The stack's own volume where nothing is to be done.
        """
        names = check_enhancements((*self.enhance, *enhance))
        whole = tuple(name for name in names if name in ("n4", "denoise"))
        if whole in self._enhanced:
            return self._enhanced[whole]
        with self._lock:  # a second thread waits for the first one's work, and does not repeat it
            if whole not in self._enhanced:
                self._enhanced[whole] = enhance_volume(self.volume, whole, on_progress=on_progress)
            return self._enhanced[whole]


def slice_of(array: npt.NDArray[Any], axes: PlaneAxes, index: int) -> npt.NDArray[Any]:
    """Return one slice as (rows, columns) in array order: a view that writes through where the array is writable.

    Parameters
    ----------
    array : (Z, Y, X) array
    axes : PlaneAxes
        From ``geometry.axes_of(plane)``.
    index : int

    Returns
    -------
    (rows, columns) array

    Examples
    --------
    >>> grid = Geometry.from_spacing((4, 5, 6))
    >>> mask = np.zeros(grid.shape, bool)
    >>> slice_of(mask, grid.axes_of("coronal"), 2)[...] = True
    >>> bool(mask[:, 2].all())
    True
    """
    picked: npt.NDArray[Any] = np.moveaxis(array, (axes.normal, axes.row, axes.column), (0, 1, 2))[index]
    return picked


def _square_shape(counts: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[int, int]:
    """Pixels of a view of `counts` voxels: as fine as the finer spacing, at most `LONGEST_SIDE`."""
    finest, coarsest = min(spacing_mm), max(spacing_mm)
    if coarsest <= finest * (1 + _ALIKE):
        extents = (float(counts[0]), float(counts[1]))
    else:
        extents = (counts[0] * spacing_mm[0] / finest, counts[1] * spacing_mm[1] / finest)
    shrink = min(1.0, LONGEST_SIDE / max(extents))
    return max(1, round(extents[0] * shrink)), max(1, round(extents[1] * shrink))


def _resample(values: npt.NDArray[Any], shape: tuple[int, int], order: int, antialias: bool) -> npt.NDArray[Any]:
    """Resample edge to edge along both axes; an axis that keeps its length is left alone."""
    if order == 0:
        rows, columns = (_nearest(n, m) for n, m in zip(values.shape, shape, strict=True))
        return values[rows[:, None], columns[None, :]]
    values = np.asarray(values, np.float32)
    if values.shape[0] != shape[0]:
        values = _weights(values.shape[0], shape[0], antialias) @ values
    if values.shape[1] != shape[1]:
        values = values @ _weights(values.shape[1], shape[1], antialias).T
    return values


def _nearest(length: int, wanted: int) -> npt.NDArray[np.intp]:
    position = np.floor((np.arange(wanted) + 0.5) * (length / wanted))
    return np.asarray(np.minimum(position, length - 1), np.intp)


@lru_cache(maxsize=64)
def _weights(length: int, wanted: int, antialias: bool) -> FloatArray:
    """(wanted, length) weights of linear interpolation; with `antialias`, of a triangle as wide as a new pixel."""
    step = length / wanted
    centres = (np.arange(wanted) + 0.5) * step - 0.5
    reach = max(step, 1.0) if antialias else 1.0
    if reach == 1.0:
        centres = np.clip(centres, 0, length - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(centres[:, None] - np.arange(length)[None, :]) / reach)
    shares: FloatArray = np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
    shares.flags.writeable = False
    return shares

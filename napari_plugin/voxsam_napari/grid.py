"""Which voxel of the scan a place on the screen is: layer data, the viewer's world and the scan's voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from voxsam.errors import VolumeError
from voxsam.geometry import Geometry, Plane
from voxsam.volume import Volume
from voxsam_napari.orientation import geometry_of

__all__ = ["LayerGrid", "SliceView", "channels_of", "scan_of"]

FloatArray = npt.NDArray[np.float64]

#: A last axis as short as this, beside longer ones, holds channels.
_FEW = 4
_COLORS = ("red", "green", "blue", "all, as grey")


@dataclass(frozen=True)
class SliceView:
    """A slice of the scan that the viewer shows.

    Parameters
    ----------
    plane : {"axial", "coronal", "sagittal"}
    index : int
        Along the plane's normal array axis of the volume.
    """

    plane: Plane
    index: int


@dataclass(frozen=True, eq=False)
class LayerGrid:
    """How the last axes of a layer lie on a volume, and in the viewer's world.

    Parameters
    ----------
    geometry : Geometry
        Of the volume.
    ndim : int
        Spatial axes that the layer shows: 3, or 2 for an image, which is a volume of one slice.
    axes : tuple of int
        Layer axis k shows the volume's array axis ``axes[k]``.
    flips : tuple of bool
        Layer axis k runs against the volume's index.
    to_world : (ndim + 1, ndim + 1) float array
        From the layer's data positions to the viewer's last `ndim` world axes.

    Examples
    --------
    >>> grid = LayerGrid(Geometry.from_spacing((4, 8, 9)), 3, (1, 0, 2), (False, True, False), np.eye(4))
    >>> grid.to_voxel([[2, 0, 5]])  # row 0 of the layer's second axis is the volume's last slice
    array([[3., 2., 5.]])
    >>> grid.shown(np.zeros((4, 8, 9))).shape
    (8, 4, 9)
    """

    geometry: Geometry
    ndim: int
    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    to_world: FloatArray

    def shown(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of a volume's (Z, Y, X) array as the layer has its axes."""
        turned = array if self.ndim == 3 else array[0]
        axes = self.axes if self.ndim == 3 else tuple(axis - 1 for axis in self.axes)
        return turned.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def of_shown(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an array with the layer's axes as a view with the volume's, (Z, Y, X): the way back of `shown`."""
        turned = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return turned.transpose(np.argsort(self.axes)) if self.ndim == 3 else turned[None]

    def to_voxel(self, data: npt.ArrayLike) -> FloatArray:
        """Map the layer's data positions (N, ndim) to the volume's voxel positions (N, 3)."""
        points = np.asarray(data, dtype=np.float64)
        voxels = np.zeros((len(points), 3))
        for k, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            voxels[:, axis] = self.geometry.shape[axis] - 1 - points[:, k] if flip else points[:, k]
        return voxels

    def to_data(self, points_zyx: npt.ArrayLike) -> FloatArray:
        """Map the volume's voxel positions (N, 3) to the layer's data positions (N, ndim)."""
        points = np.asarray(points_zyx, dtype=np.float64)
        columns = [
            self.geometry.shape[axis] - 1 - points[:, axis] if flip else points[:, axis]
            for axis, flip in zip(self.axes, self.flips, strict=True)
        ]
        return np.stack(columns, axis=1)

    def view(self, dims_order: Sequence[int], point: Sequence[float]) -> SliceView | None:
        """Tell which slice a viewer shows whose world axes are in `dims_order` and whose sliders are at `point`.

        Returns
        -------
        SliceView or None
            None where the sliders are beyond the scan.
        """
        if self.ndim == 2:
            return SliceView(self.geometry.plane_across(0), 0)
        normal = self._normal_of(dims_order)
        index = int(np.round(self._index_at(normal, point[len(point) - self.ndim + normal])))
        axis = self.axes[normal]
        count = self.geometry.shape[axis]
        if not 0 <= index < count:
            return None
        return SliceView(self.geometry.plane_across(axis), count - 1 - index if self.flips[normal] else index)

    def clicked(self, position: Sequence[float], dims_order: Sequence[int], point: Sequence[float]) -> FloatArray:
        """Map a place in the viewer's world, as it is drawn in 2D, to the voxel position (3,) seen there.

        A tilted layer is drawn without the part of its tilt that leaves the slice, so the way back leaves it out too.
        """
        world = np.asarray(position[-self.ndim :], dtype=np.float64)
        shown = self._displayed(dims_order)
        linear, offset = self.to_world[:-1, :-1], self.to_world[:-1, -1]
        data = np.zeros(self.ndim)
        data[shown] = np.linalg.solve(linear[np.ix_(shown, shown)], world[shown] - offset[shown])
        if self.ndim == 3:
            normal = self._normal_of(dims_order)
            data[normal] = np.round(self._index_at(normal, point[len(point) - self.ndim + normal]))
        voxel: FloatArray = self.to_voxel([data])[0]
        return voxel

    def slider_at(self, view: SliceView, dims_order: Sequence[int]) -> tuple[int, float] | None:
        """Tell which of the layer's world axes to move, and where to, to see a slice; None for another plane."""
        if self.ndim == 2:
            return None
        normal = self._normal_of(dims_order)
        axis = self.axes[normal]
        if self.geometry.plane_across(axis) != view.plane:
            return None
        data = self.geometry.shape[axis] - 1 - view.index if self.flips[normal] else view.index
        scale, offset = self._index_line(normal)
        return normal, (data - offset) / scale

    def show(self, dims: Any, view: SliceView) -> None:
        """Let a viewer's `dims` show a slice, turned to its plane where they show another."""
        extra = dims.ndim - self.ndim
        if self.ndim == 3 and self.slider_at(view, dims.order) is None:
            normal = self.axis_of(view.plane)
            rest = [axis for axis in range(3) if axis != normal]
            dims.order = (*range(extra), *(axis + extra for axis in (normal, *rest)))
        place = self.slider_at(view, dims.order)
        if place is not None:
            dims.set_point(place[0] + extra, place[1])

    def thin(self, view: SliceView, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], FloatArray]:
        """Make a layer of one slice: data with the layer's axes, and the affine that draws it where the slice is drawn.

        `values` are (rows, columns) in array order, or (rows, columns, 3) colours.
        """
        if self.ndim == 2:
            return values, self.to_world
        axes = self.geometry.axes_of(view.plane)
        colors = values.shape[2:]
        sides = {axes.normal: 1, axes.row: values.shape[0], axes.column: values.shape[1]}
        upright = values if axes.row < axes.column else values.swapaxes(0, 1)
        array = upright.reshape(*(sides[axis] for axis in range(3)), *colors)
        turned = array.transpose(*self.axes, *([3] if colors else []))
        data = turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        normal = self.axes.index(axes.normal)
        slope, offset = self._index_line(normal)
        index = self.geometry.shape[axes.normal] - 1 - view.index if self.flips[normal] else view.index
        affine = self.to_world.copy()
        affine[normal, :3] = affine[:3, normal] = 0.0
        affine[normal, normal], affine[normal, 3] = 1.0 / slope, (index - offset) / slope
        return data, affine

    def axis_of(self, plane: Plane) -> int:
        """Tell which of the layer's axes the slices of a plane follow."""
        return self.axes.index(self.geometry.axes_of(plane).normal)

    def _displayed(self, dims_order: Sequence[int]) -> list[int]:
        extra = len(dims_order) - self.ndim
        order = [axis - extra for axis in dims_order if axis >= extra]
        return order[-2:]

    def _normal_of(self, dims_order: Sequence[int]) -> int:
        return next(axis for axis in range(3) if axis not in self._displayed(dims_order))

    def _index_line(self, normal: int) -> tuple[float, float]:
        """Slope and offset from a slider's position to the layer's index, as napari slices."""
        back = np.linalg.inv(self.to_world)
        return float(back[normal, normal]), float(back[normal, -1])

    def _index_at(self, normal: int, slider: float) -> float:
        slope, offset = self._index_line(normal)
        return slope * slider + offset


def channels_of(layer: Any) -> tuple[str, ...]:
    """Name the channels that an image layer holds beside its spatial axes; empty where it has none.

    Raises
    ------
    VolumeError
        If it has more axes than one channel explains.
    """
    shape = _shape_of(layer)
    if layer.rgb:
        return _COLORS[: shape[-1]] if shape[-1] < 3 else _COLORS
    if len(shape) <= 3:
        return ()
    if len(shape) > 4:
        raise VolumeError(
            f"image {layer.name!r} has {len(shape)} axes {shape}; expected two or three, and at most one of channels "
            f"or times beside them: split it first (right-click on the layer)"
        )
    if shape[-1] <= _FEW < min(shape[:-1]):
        raise VolumeError(
            f"image {layer.name!r} {shape} has its channels last, where napari draws columns; bring them to "
            f"the front: viewer.add_image(data, channel_axis=-1)"
        )
    return tuple(f"{number + 1} of {shape[0]}" for number in range(shape[0]))


def scan_of(layer: Any, channel: int = 0) -> tuple[Volume, LayerGrid]:
    """Read an image layer as a volume; the layer is not touched, and its array not copied where it is one.

    Parameters
    ----------
    layer : napari.layers.Image
        2D, 3D, or with one axis of channels or times before those; with colours as well.
    channel : int
        Which of `channels_of`.

    Returns
    -------
    volume : Volume
        With the layer's own geometry; with the scan's own where a voxsam reader made the layer.
    grid : LayerGrid

    Raises
    ------
    VolumeError, GeometryError
        If the layer's array or its transform is not that of a scan.
    """
    array = _channel(layer, channel)
    to_world = _transform(layer, array.ndim)
    known = layer.metadata.get("voxsam", {}) if array.ndim == 3 else {}
    axes, flips = tuple(known.get("axes", (0, 1, 2))), tuple(known.get("flips", (False,) * 3))
    volume = known["volumes"][channel] if "volumes" in known else known.get("volume")
    if volume is not None and tuple(volume.geometry.shape[axis] for axis in axes) == array.shape:
        grid = LayerGrid(volume.geometry, 3, axes, flips, to_world)
        if not np.may_share_memory(array, volume.array):  # somebody has put other values in the layer since
            volume = replace(volume, array=grid.of_shown(array))
        return volume, grid
    volume = Volume(
        array if array.ndim == 3 else array[None],
        geometry_of(_in_mm(to_world, layer), array.shape),
        modality=str(layer.metadata.get("modality", "")),
        name=layer.name,
    )
    if array.ndim == 2:
        return volume, LayerGrid(volume.geometry, 2, (1, 2), (False, False), to_world)
    return volume, LayerGrid(volume.geometry, 3, (0, 1, 2), (False,) * 3, to_world)


def _shape_of(layer: Any) -> tuple[int, ...]:
    data = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(n) for n in data.shape)


def _channel(layer: Any, channel: int) -> npt.NDArray[Any]:
    data = layer.data[0] if layer.multiscale else layer.data
    names = channels_of(layer)
    if not names:
        return np.asarray(data)
    if not 0 <= channel < len(names):
        raise VolumeError(f"image {layer.name!r} has channels 0 to {len(names) - 1}, got {channel}")
    if not layer.rgb:
        return np.asarray(data[channel])
    if channel == len(names) - 1:
        grey: npt.NDArray[Any] = np.asarray(data[..., :3]).mean(axis=-1, dtype=np.float32)
        return grey
    return np.asarray(data[..., channel])


def _transform(layer: Any, ndim: int) -> FloatArray:
    """Return the layer's way from its spatial data axes to the world, in millimetres where it has a unit of length."""
    origin = np.asarray(layer.data_to_world((0.0,) * layer.ndim))
    columns = [np.asarray(layer.data_to_world(step)) - origin for step in np.eye(layer.ndim)]
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = np.stack(columns, axis=1)[-ndim:, -ndim:]
    matrix[:-1, -1] = origin[-ndim:]
    return matrix


def _in_mm(to_world: FloatArray, layer: Any) -> FloatArray:
    """Scale the world's axes to millimetres where the layer says its units of length; pixels are taken for those."""
    factors = [
        1.0 if not unit.is_compatible_with("mm") else (1.0 * unit).to("mm").magnitude
        for unit in tuple(layer.units)[-(len(to_world) - 1) :]
    ]
    scaled: FloatArray = np.diag([*factors, 1.0]) @ to_world
    return scaled

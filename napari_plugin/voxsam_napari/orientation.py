"""Which way round napari draws a scan, decided in one place.

napari draws its second-last displayed world axis downwards and its last one to the right. Its world is therefore taken
as **(inferior, posterior, left)** in millimetres: then the axial, the coronal and the sagittal view are all upright,
with the patient's right on the left of the screen as radiologists expect, by the layer's transform alone. Neither the
camera is turned nor a voxel moved.

Two things a transform cannot do in napari's 2D views, which always cut along the layer's own axes:

- *Axes in another order* (a scan taken in sagittal slices): the layer shows a transposed view of the array, so that its
  axes are the world's in order.
- *A tilt*: napari would leave it out while slicing, warn at each slice, and let the sliders run through empty slices.
  So an oblique scan is shown on its own voxel grid, about the centre where it truly lies; right, left and slices are
  those of the scanner. Two scans of one patient with different tilts thus do not lie exactly upon one another.

The exact grid stays in ``layer.metadata["voxsam"]`` (see `shown`), and is what sessions and writers use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from voxsam.geometry import Geometry, Plane
from voxsam.volume import Mask, Volume

__all__ = ["PLANE_ORDER", "RAS_OF_NAPARI", "geometry_of", "placement", "shown"]

FloatArray = npt.NDArray[np.float64]

#: Maps napari's world axes (inferior, posterior, left) to RAS, and is its own inverse.
RAS_OF_NAPARI: FloatArray = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
RAS_OF_NAPARI.flags.writeable = False

#: ``viewer.dims.order`` that shows a plane upright.
PLANE_ORDER: Mapping[Plane, tuple[int, int, int]] = {
    "axial": (0, 1, 2),
    "coronal": (1, 0, 2),
    "sagittal": (2, 0, 1),
}


def shown(scan: Volume | Mask) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Tell how a scan or a mask becomes a layer.

    Parameters
    ----------
    scan : Volume or Mask
        Not copied.

    Returns
    -------
    data : array
        A view of its array, axes in the order of napari's world.
    options : dict
        For ``viewer.add_image`` or ``add_labels``: where it lies, and ``metadata["voxsam"]``, a dict of ``"volume"`` or
        ``"mask"`` (what was given) and ``"axes"``: layer axis k shows array axis ``axes[k]``.

    Examples
    --------
    >>> grid = Geometry.from_spacing((40, 512, 512), spacing_mm=(5.0, 0.7, 0.7))
    >>> data, options = shown(Mask(np.zeros(grid.shape, bool), grid))
    >>> np.round(options["scale"], 6)
    array([5. , 0.7, 0.7])
    >>> np.diag(options["affine"])[:3]  # z grows to superior, against napari's first world axis, and so on
    array([-1., -1., -1.])
    """
    axes, scale, affine = placement(scan.geometry)
    kind = "volume" if isinstance(scan, Volume) else "mask"
    options: dict[str, Any] = {
        "scale": scale,
        "affine": affine,
        "units": "mm",
        "axis_labels": ("inferior", "posterior", "left"),
        "metadata": {"voxsam": {kind: scan, "axes": axes}},
    }
    return scan.array.transpose(axes), options


def placement(geometry: Geometry) -> tuple[tuple[int, int, int], tuple[float, float, float], FloatArray]:
    """Tell where a grid lies in napari's world, tilt left out.

    Returns
    -------
    axes : tuple of int
        Layer axis k shows array axis ``axes[k]``.
    scale : tuple of float
        Spacing in millimetres along the layer's axes.
    affine : (4, 4) float array
        Applied after `scale`: flips, and the shift that puts the grid's centre where it truly is (within 1e-6 of its
        size, see `_exact_sums`).
    """
    inferior, posterior, left = (geometry.world_axes.index(world) for world in (2, 1, 0))
    axes = (inferior, posterior, left)
    true = RAS_OF_NAPARI @ geometry.affine[:3, axes]
    scale = np.asarray([geometry.spacing_mm[axis] for axis in axes], dtype=np.float32).astype(np.float64)
    affine = np.diag([*np.sign(np.diag(true)), 1.0])
    middle = (np.asarray(geometry.shape)[list(axes)] - 1) / 2
    centre = RAS_OF_NAPARI @ geometry.affine[:3, 3] + true @ middle
    affine[:3, 3] = _exact_sums(centre - affine[:3, :3] @ (scale * middle), scale)
    return axes, (float(scale[0]), float(scale[1]), float(scale[2])), affine


def _exact_sums(shift: FloatArray, scale: FloatArray) -> FloatArray:
    """Round a shift to the last place of a scale in single precision: then shift + n * scale is exact.

    napari divides a slider's range by the scale to count its steps, and rounds down: a lost bit would be a lost slice.
    """
    places = np.spacing(scale.astype(np.float32)).astype(np.float64)
    return np.asarray(np.round(shift / places) * places, dtype=np.float64)


def geometry_of(to_world: npt.ArrayLike, shape: tuple[int, ...], units: Sequence[Any] = ()) -> Geometry:
    """Return the grid of a layer that no reader of ours made, from its own transform.

    Parameters
    ----------
    to_world : (n + 1, n + 1) array_like
        From the layer's n spatial data axes, 2 or 3, to napari's world: scale, rotation, shear, translation and affine
        in one.
    shape : tuple of int
        Along these axes.
    units : sequence of pint.Unit, optional
        Of the world's axes, as ``layer.units``. Lengths become millimetres; pixels are taken for millimetres.

    Raises
    ------
    GeometryError
        If the transform is singular.

    Examples
    --------
    >>> geometry_of(np.diag([-3.0, 1.0, 1.0, 1.0]), (10, 64, 64)).orientation
    'SPL'
    >>> geometry_of(np.diag([0.5, 0.5, 1.0]), (64, 64)).spacing_mm  # an image is a volume of one slice, 1 mm thick
    (1.0, 0.5, 0.5)
    """
    whole, matrix = np.eye(4), np.array(to_world, dtype=np.float64)
    for axis, unit in enumerate(units):
        if unit.is_compatible_with("mm"):
            matrix[axis] *= (1.0 * unit).to("mm").magnitude
    skip = 4 - len(matrix)
    whole[skip:, skip:] = matrix
    affine = np.eye(4)
    affine[:3] = RAS_OF_NAPARI @ whole[:3]
    z, y, x = (*(1,) * skip, *shape)
    return Geometry((z, y, x), affine)

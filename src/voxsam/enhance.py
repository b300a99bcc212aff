"""Make low contrast easier to see: local equalisation (CLAHE), MR bias correction (N4), edge-preserving denoising.

Each returns something new; the user's volume is never written to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from voxsam.errors import VoxsamError, WindowError, unknown_name
from voxsam.volume import Volume

__all__ = ["ENHANCEMENTS", "check_enhancements", "clahe", "correct_bias", "denoise", "enhance_volume"]

FloatArray = npt.NDArray[np.float32]
OnProgress: TypeAlias = Callable[[int, int], None]

#: The names a user may ask for, and what each does.
ENHANCEMENTS: Mapping[str, str] = MappingProxyType(
    {
        "clahe": "raise local contrast, slice by slice (CLAHE)",
        "denoise": "smooth noise, keep edges (curvature anisotropic diffusion, whole volume)",
        "local": "fit the window to the surroundings of the prompts",
        "n4": "take out the shading of MR coils (N4, whole volume)",
    }
)


def check_enhancements(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names without repeats, in the order in which they are applied.

    Parameters
    ----------
    names : iterable of str
        Of `ENHANCEMENTS`.

    Returns
    -------
    tuple of str

    Raises
    ------
    WindowError
        If a name is unknown.

    Examples
    --------
    >>> check_enhancements(["clahe", "n4"])
    ('n4', 'clahe')
    """
    asked = [names] if isinstance(names, str) else list(names)
    for name in asked:
        if name not in ENHANCEMENTS:
            raise WindowError(unknown_name("enhancement", str(name), ENHANCEMENTS))
    return tuple(name for name in ("n4", "denoise", "clahe", "local") if name in asked)


def enhance_volume(volume: Volume, names: Iterable[str], *, on_progress: OnProgress | None = None) -> Volume:
    """Apply the enhancements that need the whole volume, ``"n4"`` and ``"denoise"``; others are left out.

    Parameters
    ----------
    volume : Volume
    names : iterable of str
        Of `ENHANCEMENTS`.
    on_progress : callable, optional
        Called with (done, total) of each step; raise `Cancelled` in it to stop.

    Returns
    -------
    Volume
        The same object if there is nothing to do.

    Raises
    ------
    WindowError
        If a name is unknown, or ``"n4"`` is asked for on CT.

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> scan = Volume(np.zeros((2, 3, 4), np.float32), Geometry.from_spacing((2, 3, 4)))
    >>> enhance_volume(scan, ["clahe"]) is scan
    True
    """
    for name in check_enhancements(names):
        if name == "n4":
            volume = correct_bias(volume, on_progress=on_progress)
        elif name == "denoise":
            volume = denoise(volume, on_progress=on_progress)
    return volume


def clahe(
    grey: FloatArray,
    *,
    pixel_mm: tuple[float, float] = (1.0, 1.0),
    tile_mm: float = 40.0,
    max_slope: float = 3.0,
    bins: int = 256,
) -> FloatArray:
    """Equalise a slice's histogram locally, with limited contrast (CLAHE).

    Parameters
    ----------
    grey : (rows, columns) float array in 0..1
        A windowed slice; left as it is.
    pixel_mm : tuple of float
        Between pixel centres along (rows, columns), so that a tile is square in the patient.
    tile_mm : float
        Side of the tiles whose histograms are equalised: about the size of what should stand out from its
        surroundings.
    max_slope : float
        Contrast grows at most by this factor, noise too; 1 leaves the picture as it is.
    bins : int
        Bins of each histogram.

    Returns
    -------
    (rows, columns) float32 array in 0..1
        Black stays black and white stays white.

    Raises
    ------
    WindowError
        If a number is out of range or the slice is not 2D.

    Examples
    --------
    >>> faint = np.random.default_rng(0).normal(0.5, 0.05, (64, 64)).astype(np.float32)
    >>> bool(clahe(faint).std() > 2 * faint.std())
    True
    """
    if grey.ndim != 2:
        raise WindowError(f"CLAHE works on one slice (rows, columns), got shape {grey.shape}")
    if not (tile_mm > 0 and max_slope >= 1 and bins >= 2 and min(pixel_mm) > 0):
        raise WindowError(
            f"CLAHE needs tile_mm above 0, max_slope 1 or more, 2 bins or more; got {tile_mm}, {max_slope}, {bins}"
        )
    edges = [_tile_edges(n, tile_mm / mm) for n, mm in zip(grey.shape, pixel_mm, strict=True)]
    (row_low, row_high, row_part), (column_low, column_high, column_part) = (_between_tiles(edge) for edge in edges)
    position = np.clip(grey, 0.0, 1.0) * np.float32(bins)
    bin_of = np.minimum(position.astype(np.intp), bins - 1)
    within = (position - bin_of).astype(np.float32)
    curves = _tile_curves(bin_of, edges, bins, max_slope)

    def by(rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> FloatArray:
        tile = rows[:, None] * curves.shape[1] + columns[None, :]
        at = tile * curves.shape[2] + bin_of
        left = curves.ravel()[at]
        return np.asarray(left + within * (curves.ravel()[at + 1] - left), np.float32)

    upper = by(row_low, column_low) * (1 - column_part) + by(row_low, column_high) * column_part
    lower = by(row_high, column_low) * (1 - column_part) + by(row_high, column_high) * column_part
    return np.asarray(upper * (1 - row_part[:, None]) + lower * row_part[:, None], np.float32)


def correct_bias(
    volume: Volume,
    *,
    work_mm: float = 4.0,
    iterations: Sequence[int] = (50, 50, 30),
    on_progress: OnProgress | None = None,
) -> Volume:
    """Take out the slow shading that the coils of an MR scanner leave (N4).

    The field is estimated on a coarse copy, where it loses nothing, and divided out at full resolution. Its
    mean over the patient is 1, so the brightness as a whole stays.

    Parameters
    ----------
    volume : Volume
        MR (or unknown modality).
    work_mm : float
        Voxel size of the coarse copy.
    iterations : sequence of int
        At most so many at each level; each level halves the distance of the spline's knots.
    on_progress : callable, optional
        Called with (done, total) iterations; raise `Cancelled` in it to stop.

    Returns
    -------
    Volume
        float32, on the same grid.

    Raises
    ------
    WindowError
        If the volume is a CT, whose values are calibrated, or has one value only.

    References
    ----------
    Tustison NJ, et al. N4ITK: improved N3 bias correction. IEEE Trans Med Imaging 29:1310-1320, 2010.

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> z, y, x = np.indices((12, 24, 24))
    >>> head = np.where((y - 12) ** 2 + (x - 12) ** 2 < 81, 100.0, 0.0).astype(np.float32)
    >>> shaded = Volume(head * (0.7 + 0.025 * x).astype(np.float32), Geometry.from_spacing(head.shape), modality="MR")
    >>> flat = correct_bias(shaded, work_mm=1.0)
    >>> bool(flat.array[head > 0].std() < 0.4 * shaded.array[head > 0].std())
    True
    """
    if volume.modality == "CT":
        raise WindowError("'n4' takes out the shading of MR coils; a CT has none, leave it out")
    values, lowest = _finite(volume.array)
    if values.max() <= lowest:
        raise WindowError("'n4' needs a scan with more than one value")
    values -= min(lowest, 0.0)  # shading multiplies, so zero must be no signal; z-scored scans go below
    log_bias = _log_bias(values, volume.geometry.spacing_mm, work_mm, tuple(iterations), on_progress)
    values /= np.exp(log_bias, out=log_bias)
    values += min(lowest, 0.0)
    return replace(volume, array=values)


def denoise(
    volume: Volume,
    *,
    smoothing_mm: float = 0.7,
    conductance: float = 3.0,
    on_progress: OnProgress | None = None,
) -> Volume:
    """Smooth noise in 3D and keep edges (curvature anisotropic diffusion).

    Parameters
    ----------
    volume : Volume
    smoothing_mm : float
        Where there is no edge, as a Gaussian of this standard deviation.
    conductance : float
        How strong an edge must be to stay, relative to the mean gradient: lower keeps more, noise too.
    on_progress : callable, optional
        Called with (done, total) in percent; raise `Cancelled` in it to stop.

    Returns
    -------
    Volume
        float32, on the same grid.

    Raises
    ------
    WindowError
        If a parameter is not positive.

    References
    ----------
    Whitaker RT, Xue X. Variable-conductance, level-set curvature for image denoising. ICIP 2001, 142-145.

    Examples
    --------
    >>> from voxsam.geometry import Geometry
    >>> noisy = np.random.default_rng(0).normal(40, 15, (8, 24, 24)).astype(np.float32)
    >>> calm = denoise(Volume(noisy, Geometry.from_spacing(noisy.shape)), smoothing_mm=1.5)
    >>> bool(calm.array.std() < noisy.std() / 2)
    True
    """
    if not (smoothing_mm > 0 and conductance > 0):
        raise WindowError(f"denoising needs positive parameters, got smoothing {smoothing_mm} mm, {conductance}")
    values, _ = _finite(volume.array)
    finest = min(volume.geometry.spacing_mm)
    z, y, x = (mm / finest for mm in volume.geometry.spacing_mm)  # in units in which ITK's bound of stability is 1/16
    diffusion = sitk.CurvatureAnisotropicDiffusionImageFilter()
    diffusion.SetTimeStep(1 / 16)
    diffusion.SetConductanceParameter(conductance)
    diffusion.SetNumberOfIterations(max(1, round(16 * (smoothing_mm / finest) ** 2 / 2)))
    image = _image(values, (z, y, x))
    run = _execute(diffusion, on_progress, sitk.sitkProgressEvent, lambda: round(100 * diffusion.GetProgress()), 100)
    calm = run(image)
    return replace(volume, array=sitk.GetArrayFromImage(calm))


def _tile_edges(length: int, tile: float) -> npt.NDArray[np.intp]:
    """Cut `length` pixels into equal tiles of about `tile` pixels, at least 8."""
    count = max(1, round(length / max(tile, 8.0)))
    return np.round(np.linspace(0, length, count + 1)).astype(np.intp)


def _between_tiles(
    edges: npt.NDArray[np.intp],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]:
    """For each pixel: the tile before, the tile after, and how far it is from the one's centre to the other's."""
    centres = (edges[:-1] + edges[1:] - 1) / 2
    position = np.interp(np.arange(edges[-1]), centres, np.arange(len(centres)))
    before = np.floor(position).astype(np.intp)
    after = np.minimum(before + 1, len(centres) - 1)
    return before, after, (position - before).astype(np.float32)


def _tile_curves(
    bin_of: npt.NDArray[np.intp], edges: Sequence[npt.NDArray[np.intp]], bins: int, max_slope: float
) -> FloatArray:
    """(tile rows, tile columns, bins + 1) curves from 0 to 1: the clipped histograms, summed up."""
    row_tile, column_tile = (np.repeat(np.arange(len(edge) - 1), np.diff(edge)) for edge in edges)
    shape = (len(edges[0]) - 1, len(edges[1]) - 1, bins)
    flat = (row_tile[:, None] * shape[1] + column_tile[None, :]) * bins + bin_of
    share = np.bincount(flat.ravel(), minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)
    share /= share.sum(axis=-1, keepdims=True)
    limit = max_slope / bins
    for _ in range(bins):  # what is cut off is spread over the bins that still have room
        excess = np.maximum(share - limit, 0.0).sum(axis=-1, keepdims=True)
        if excess.max() < 1e-6:
            break
        share = np.minimum(share, limit)
        room = limit - share
        share += excess * room / np.maximum(room.sum(axis=-1, keepdims=True), excess + 1e-12)
    curves = np.zeros((*shape[:2], bins + 1))
    np.cumsum(share, axis=-1, out=curves[..., 1:])
    return (curves / curves[..., -1:]).astype(np.float32)


def _log_bias(
    values: FloatArray,
    spacing_mm: tuple[float, float, float],
    work_mm: float,
    iterations: tuple[int, ...],
    on_progress: OnProgress | None,
) -> FloatArray:
    """Estimate the logarithm of the shading, its mean over the patient being 0."""
    pads = [max(0, 4 - n) for n in values.shape]  # a spline needs a few slices to rest on
    image = _image(np.pad(values, [(0, pad) for pad in pads], mode="edge"), spacing_mm)
    size = image.GetSize()
    shrink = [max(1, min(int(work_mm / mm), n // 4)) for mm, n in zip(image.GetSpacing(), size, strict=True)]
    small = sitk.Shrink(image, shrink)
    patient = sitk.OtsuThreshold(small, 0, 1, 200)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([int(n) for n in iterations])
    done = [0]

    def count() -> int:
        done[0] += 1
        return done[0]

    _execute(n4, on_progress, sitk.sitkIterationEvent, count, sum(iterations))(small, patient)
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).astype(np.float32, copy=False)
    field = field[tuple(slice(0, n) for n in values.shape)]
    inside = sitk.GetArrayFromImage(sitk.Resample(patient, image, sitk.Transform(), sitk.sitkNearestNeighbor))
    inside = inside[tuple(slice(0, n) for n in values.shape)].astype(bool)
    return np.ascontiguousarray(field - field[inside].mean() if inside.any() else field)


def _execute(
    work: Any, on_progress: OnProgress | None, event: int, progress: Callable[[], int], total: int
) -> Callable[..., Any]:
    """Return `work.Execute`, which reports on the way and is stopped by what `on_progress` raises."""
    if on_progress is None:
        return work.Execute  # type: ignore[no-any-return]
    tell, stopped = on_progress, []

    def report() -> None:
        try:
            tell(min(progress(), total), total)
        except VoxsamError as reason:  # ITK cannot carry it through: keep it, and ask ITK to stop
            stopped.append(reason)
            work.Abort()

    def run(*images: Any) -> Any:
        work.AddCommand(event, report)
        try:
            result = work.Execute(*images)
        except RuntimeError:  # how ITK reports that it was asked to stop
            if not stopped:
                raise
        if stopped:
            raise stopped[0]
        tell(total, total)
        return result

    return run


def _finite(array: npt.NDArray[Any]) -> tuple[FloatArray, float]:
    """Copy to float32 with NaN and infinities replaced by the lowest finite value, which is returned too."""
    values = np.array(array, dtype=np.float32, order="C")
    finite = np.isfinite(values)
    lowest = float(values[finite].min())
    values[~finite] = lowest
    return values, lowest


def _image(values: FloatArray, spacing_mm: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing_mm[::-1])
    return image

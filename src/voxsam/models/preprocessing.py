"""From a view's pixels to a model's square input, and the checks that every model makes; no torch.

Follows the published inference code of each checkpoint to the pixel: views are rounded to 8 bits, then resized as that
code does it, because that is what the checkpoints were trained and are compared on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from voxsam.errors import InputError, PromptError
from voxsam.models.base import FloatArray, Preprocessing, SlicePrompts

__all__ = ["check_pixels", "check_prompts_on", "input_pixels", "resize_pixels", "resized_shape", "xy_to_input"]

Bytes = npt.NDArray[np.uint8]

ROUNDING = 1e-3  # how far windowed pixels may lie outside 0..1


def check_pixels(pixels: npt.NDArray[np.floating]) -> FloatArray:
    """Return a view's pixels as float32, or say what is wrong with them.

    Parameters
    ----------
    pixels : (H, W, 3) float array in 0..1

    Returns
    -------
    (H, W, 3) float32 array
        In 0..1; rounding errors beyond are cut off.

    Raises
    ------
    InputError
        If shape, type or range do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> check_pixels(np.ones((2, 5, 3))).dtype
    dtype('float32')
    >>> check_pixels(np.full((2, 5, 3), 255.0))
    Traceback (most recent call last):
    voxsam.errors.InputError: a view's pixels must lie in 0..1, got 255 to 255; apply a window first
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise InputError(f"a view must be (H, W, 3) with at least one pixel, got shape {pixels.shape}")
    if not np.issubdtype(pixels.dtype, np.floating):
        raise InputError(f"a view's pixels must be floats in 0..1, got {pixels.dtype}; apply a window first")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # so written, NaN fails
        raise InputError(f"a view's pixels must lie in 0..1, got {low:g} to {high:g}; apply a window first")
    return np.asarray(np.clip(pixels, 0, 1), np.float32)


def check_prompts_on(prompts: SlicePrompts, image_shape: tuple[int, int], low_res_shape: tuple[int, int]) -> None:
    """Check prompts against the view they are on.

    Points and boxes may lie outside the view, as a model can use them there.

    Parameters
    ----------
    prompts : SlicePrompts
    image_shape : tuple of int, (H, W)
        Of the view.
    low_res_shape : tuple of int, (h, w)
        Of the model's own masks.

    Raises
    ------
    PromptError
        If a mask has another shape, a label is unknown, a box is inside out, or a number is not finite.

    Examples
    --------
    >>> check_prompts_on(SlicePrompts(points_xy=[[3, 4]], point_labels=[7]), (20, 20), (8, 8))
    Traceback (most recent call last):
    voxsam.errors.PromptError: point labels must be 1 (foreground) or 0 (background), got [7]
    """
    if not np.isin(prompts.point_labels, (0, 1)).all():
        raise PromptError(
            f"point labels must be 1 (foreground) or 0 (background), got {np.unique(prompts.point_labels).tolist()}"
        )
    if not np.isfinite(prompts.points_xy).all():
        raise PromptError(f"points must be finite, got {prompts.points_xy.tolist()}")
    box = prompts.box_xyxy
    if box is not None and not (np.isfinite(box).all() and box[0] <= box[2] and box[1] <= box[3]):
        raise PromptError(f"a box must be left, top, right, bottom in rising order and finite, got {box.tolist()}")
    for name, mask, shape in (
        ("mask_logits", prompts.mask_logits, image_shape),
        ("low_res_logits", prompts.low_res_logits, low_res_shape),
    ):
        if mask is not None and mask.shape != shape:
            raise PromptError(f"{name} must be {shape} here, got {mask.shape}; give the earlier answer as it came")
        if mask is not None and np.isnan(mask).any():
            raise PromptError(f"{name} must hold no NaN; positive is inside, negative is outside")


def resized_shape(image_shape: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Return the shape that a view takes within the model's square input.

    Parameters
    ----------
    image_shape : tuple of int, (H, W)
    preprocessing : Preprocessing

    Returns
    -------
    tuple of int, (h, w)
        At least one pixel each way.

    Examples
    --------
    >>> resized_shape((300, 400), Preprocessing(1024)), resized_shape((1, 9000), Preprocessing(1024))
    ((768, 1024), (1, 1024))
    >>> resized_shape((300, 400), Preprocessing(1024, resize="squash"))
    (1024, 1024)
    """
    size = preprocessing.input_size
    if preprocessing.resize == "squash":
        return size, size
    scale = size / max(image_shape)
    height, width = (max(1, int(side * scale + 0.5)) for side in image_shape)
    return height, width


def resize_pixels(pixels: FloatArray, preprocessing: Preprocessing) -> Bytes:
    """Bring a view to the size it has within the model's input, in 8 bits.

    Parameters
    ----------
    pixels : (H, W, 3) float32 array in 0..1
    preprocessing : Preprocessing

    Returns
    -------
    (h, w, 3) uint8 array
        Not yet padded, nor normalised.

    Examples
    --------
    >>> import numpy as np
    >>> resize_pixels(np.ones((3, 4, 3), np.float32), Preprocessing(8)).shape
    (6, 8, 3)
    """
    shape = resized_shape((pixels.shape[0], pixels.shape[1]), preprocessing)
    image = np.rint(pixels * 255).astype(np.uint8)
    if preprocessing.stretch == "view":
        image = _stretched_channels(image)
    return RESIZERS[preprocessing.resampling](image, shape)


def input_pixels(pixels: FloatArray, preprocessing: Preprocessing) -> FloatArray:
    """Bring a view to the size and the range of grey levels that it has within the model's input.

    Parameters
    ----------
    pixels : (H, W, 3) float32 array in 0..1
    preprocessing : Preprocessing

    Returns
    -------
    (h, w, 3) float32 array in 0..255
        Not yet padded; mean and deviation are still to be applied.

    Examples
    --------
    >>> import numpy as np
    >>> dim = np.linspace(0.2, 0.4, 16, dtype=np.float32).reshape(4, 4, 1).repeat(3, axis=2)
    >>> input_pixels(dim, Preprocessing(4)).max(), input_pixels(dim, Preprocessing(4, stretch="input")).max()
    (np.float32(102.0), np.float32(255.0))
    """
    resized = resize_pixels(pixels, preprocessing)
    if preprocessing.stretch != "input":
        return resized.astype(np.float32)
    low, high = int(resized.min()), int(resized.max())
    return ((resized - low) * (255 / max(high - low, 1))).astype(np.float32)


def _stretched_channels(image: Bytes) -> Bytes:
    """Give each channel its whole range, cut to whole numbers, as micro-sam does it."""
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    share = (image - low).astype(np.float32) / ((high - low).astype(np.float32) + np.float32(1e-7))
    return np.asarray((share * 255).astype(np.uint8))


def _resize_bilinear(image: Bytes, shape: tuple[int, int]) -> Bytes:
    """Resize by Pillow's bilinear filter, which averages where it shrinks; so does SAM's predictor."""
    return np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BILINEAR))


def _resize_bicubic(image: Bytes, shape: tuple[int, int]) -> Bytes:
    """Resize by Pillow's bicubic filter, as MedSAM2 does."""
    return np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BICUBIC))


def _resize_area(image: Bytes, shape: tuple[int, int]) -> Bytes:
    """Resize by the mean over the area that a new pixel covers, as OpenCV's ``INTER_AREA`` does, and so LiteMedSAM."""
    if any(new > old for new, old in zip(shape, image.shape, strict=False)):
        return _enlarge_area(image, shape)
    rows, columns = (_area_weights(old, new) for old, new in zip(image.shape, shape, strict=False))
    means = np.einsum("hr,rcd,wc->hwd", rows, image.astype(np.float64), columns, optimize=True)
    halved = image.shape[:2] == (2 * shape[0], 2 * shape[1])
    return np.asarray(np.floor(means + 0.5) if halved else np.rint(means)).astype(np.uint8)  # OpenCV's two roundings


def _area_weights(old: int, new: int) -> npt.NDArray[np.float64]:
    """Return ``(new, old)``: the share of each old pixel in the area of a new one."""
    edges = np.arange(new + 1) * (old / new)
    left, right, pixels = edges[:-1, None], edges[1:, None], np.arange(old)
    covered = np.minimum(right, pixels + 1) - np.maximum(left, pixels)
    weights = np.clip(covered, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _enlarge_area(image: Bytes, shape: tuple[int, int]) -> Bytes:
    """Enlarge: a new pixel lies in one old pixel, or on the edge of two. In whole numbers, rounded as OpenCV does."""
    (top, bottom, low), (left, right, side) = (
        _area_neighbours(old, new) for old, new in zip(image.shape, shape, strict=False)
    )
    pixels = image.astype(np.int64)
    across = pixels[:, left] * (2048 - side)[:, None] + pixels[:, right] * side[:, None]  # 11 bits after the point
    upper, lower = (across[rows] >> 4 for rows in (top, bottom))
    share = low[:, None, None]
    mixed = ((upper * (2048 - share)) >> 16) + ((lower * share) >> 16)
    return np.asarray(((mixed + 2) >> 2).clip(0, 255).astype(np.uint8))


def _area_neighbours(old: int, new: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Return each new pixel's old ones, and the share of the second in 2048 parts."""
    places = np.arange(new)
    first = (places * (old / new)).astype(np.int64)
    share = (places + 1) - (first + 1) * (new / old)
    share = np.where(share <= 0, 0, share - np.floor(share))
    return first, np.minimum(first + 1, old - 1), np.rint(share * 2048).astype(np.int64)


def _resize_cubic(image: Bytes, shape: tuple[int, int]) -> Bytes:
    """Resize by a cubic spline, smoothed first where it shrinks, as scikit-image's ``resize`` does, and so MedSAM."""
    from scipy import ndimage

    factors = [old / new for old, new in zip(image.shape, shape, strict=False)]
    sigmas = [max(0.0, (factor - 1) / 2) for factor in factors]
    zoom = [1 / factor for factor in factors]
    grey = bool((image == image[..., :1]).all())  # as of most scans: done once for all channels
    resized = []
    for channel in range(1 if grey else 3):
        smooth = ndimage.gaussian_filter(image[..., channel].astype(np.float64), sigmas, mode="mirror")
        resized.append(ndimage.zoom(smooth, zoom, order=3, mode="mirror", grid_mode=True))
    stacked = np.stack(resized * (3 if grey else 1), axis=-1)
    return np.asarray(np.clip(stacked, image.min(), image.max()).astype(np.uint8))  # cut to whole numbers, not rounded


#: By `Preprocessing.resampling`.
RESIZERS: dict[str, Callable[[Bytes, tuple[int, int]], Bytes]] = {
    "bilinear": _resize_bilinear,
    "bicubic": _resize_bicubic,
    "area": _resize_area,
    "cubic": _resize_cubic,
}


def xy_to_input(points_xy: FloatArray, image_shape: tuple[int, int], preprocessing: Preprocessing) -> FloatArray:
    """Move positions on a view to the model's input.

    As in the published predictor, positions are only scaled; half a pixel is added when they are encoded. The centre
    of the first pixel of a view that is enlarged k times thus falls (k - 1) / 2 input pixels short of its middle,
    less than half a pixel of the view; the checkpoints learnt with it.

    Parameters
    ----------
    points_xy : (N, 2) float array
        Pixels of the view; whole numbers are pixel centres.
    image_shape : tuple of int, (H, W)
    preprocessing : Preprocessing

    Returns
    -------
    (N, 2) float32 array
        Pixels of the model's input.

    Examples
    --------
    >>> xy_to_input([[40, 30]], (300, 400), Preprocessing(1024))
    array([[102.4,  76.8]], dtype=float32)
    """
    if preprocessing.whole_prompts:  # by the one factor of the longest side, then cut: as LiteMedSAM does it
        factor = preprocessing.input_size / max(image_shape)
        return np.asarray(np.trunc(np.asarray(points_xy, np.float64) * factor), np.float32)
    height, width = resized_shape(image_shape, preprocessing)
    scale_xy = np.array([width / image_shape[1], height / image_shape[0]])
    return np.asarray(np.asarray(points_xy, np.float64) * scale_xy, np.float32)

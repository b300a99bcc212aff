"""From a view's pixels to a model's square input, and the checks that every model makes; numpy only.

Follows the published SAM predictor to the pixel: views are rounded to 8 bits and resized by Pillow's bilinear filter
(which averages when it shrinks), because that is what the checkpoints were trained and are compared on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from voxsam.errors import InputError, PromptError
from voxsam.models.base import FloatArray, Preprocessing, SlicePrompts

__all__ = ["check_pixels", "check_prompts_on", "resize_pixels", "resized_shape", "xy_to_input"]

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


def resize_pixels(pixels: FloatArray, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
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
    height, width = resized_shape((pixels.shape[0], pixels.shape[1]), preprocessing)
    image = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


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
    height, width = resized_shape(image_shape, preprocessing)
    scale_xy = np.array([width / image_shape[1], height / image_shape[0]])
    return np.asarray(np.asarray(points_xy, np.float64) * scale_xy, np.float32)

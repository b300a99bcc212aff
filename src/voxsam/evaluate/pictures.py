"""A small picture of an answer: the slice, the outline of the truth and of what was found."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from voxsam.evaluate.scores import Evidence, Score

__all__ = ["FOUND_RGB", "TRUTH_RGB", "Picture", "picture_of"]

BoolArray = npt.NDArray[np.bool_]

#: Apart for colour-blind eyes too, and on black and white alike.
TRUTH_RGB, FOUND_RGB = (64, 224, 208), (255, 128, 0)


@dataclass(frozen=True)
class Picture:
    """A drawn answer.

    Parameters
    ----------
    score : Score
    png : bytes
    """

    score: Score
    png: bytes


def picture_of(evidence: Evidence, *, longest_side: int = 288) -> Picture:
    """Draw an answer: turquoise around the truth, orange around what was found, cropped to both and a margin.

    Parameters
    ----------
    evidence : Evidence
    longest_side : int
        Of the picture, in pixels; millimetres are square in it.
    """
    crop = _crop(evidence.truth | evidence.found)
    pixels, truth, found = evidence.pixels[crop], evidence.truth[crop], evidence.found[crop]
    height_mm, width_mm = (n * mm for n, mm in zip(pixels.shape, evidence.spacing_mm, strict=True))
    scale = longest_side / max(height_mm, width_mm)
    shape = max(8, round(height_mm * scale)), max(8, round(width_mm * scale))
    grey = np.asarray(
        Image.fromarray(np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)).resize(
            (shape[1], shape[0]), Image.Resampling.BILINEAR
        )
    )
    rgb = np.repeat(grey[..., None], 3, axis=2)
    for mask, colour in ((truth, TRUTH_RGB), (found, FOUND_RGB)):
        rgb[_outline(_enlarged(mask, shape))] = colour
    for axis, flip in enumerate(evidence.flips):
        rgb = np.flip(rgb, axis) if flip else rgb
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(file, "PNG", optimize=True)
    return Picture(evidence.score, file.getvalue())


def _crop(shown: BoolArray) -> tuple[slice, slice]:
    """Return the part to show: what is marked with half its size around it, 32 pixels at least."""
    if not shown.any():
        return slice(None), slice(None)
    rows, columns = ndimage.find_objects(shown.astype(np.uint8))[0]
    pieces = []
    for piece, size in ((rows, shown.shape[0]), (columns, shown.shape[1])):
        middle, reach = (piece.start + piece.stop) // 2, max(16, piece.stop - piece.start)
        pieces.append(slice(max(0, middle - reach), min(size, middle + reach)))
    return pieces[0], pieces[1]


def _enlarged(mask: BoolArray, shape: tuple[int, int]) -> BoolArray:
    rows, columns = (np.arange(n) * size // n for n, size in zip(shape, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]


def _outline(mask: BoolArray) -> BoolArray:
    return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3), bool), border_value=1)

"""A promptable model made of numpy: flood fill. Exact on phantoms, quick, and without torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.models.base import Embedding, ModelCard, Preprocessing, SliceLogits, SlicePrompts

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

#: How sure the flood is, either way.
LOGIT = 8.0

_CARD = ModelCard(
    name="flood-fill",
    title="Flood fill, for tests",
    builder="fakes:FloodFillModel",
    preprocessing=Preprocessing(input_size=256),
    licence="Apache-2.0",
    parameters_m=0.0,
    speed_class="instant",
)


@dataclass
class FloodFillModel:
    """Answers prompts by flooding pixels whose value is within a tolerance of the prompted one.

    Points flood from their pixel; where a flood holds negative points too, each pixel goes to the nearest point.
    A box floods from its middle and is cut at its edges. An earlier mask keeps what looks like its median and
    touches it; a box with it is a hint, as it is to trained models.
    """

    tolerance: float = 0.08
    card: ModelCard = _CARD
    encoded: int = field(default=0, init=False)
    decoded: int = field(default=0, init=False)

    @property
    def weights_sha256(self) -> str:
        return hashlib.sha256(f"flood {self.tolerance}".encode()).hexdigest()

    def encode(self, pixels: FloatArray) -> Embedding:
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert pixels.dtype == np.float32
        self.encoded += 1
        grey = pixels.mean(axis=2)
        return Embedding({"grey": grey}, image_shape=(grey.shape[0], grey.shape[1]))

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        self.decoded += 1
        grey = np.asarray(embedding.features["grey"], np.float32)
        factors = (0.5, 1.0, 2.0) if multimask else (1.0,)
        masks = [_answer(grey, prompts, self.tolerance * factor) for factor in factors]
        logits = np.where(np.stack(masks), np.float32(LOGIT), np.float32(-LOGIT))
        scores = [0.95 - 0.05 * abs(np.log2(f)) if m.any() else 0.0 for m, f in zip(masks, factors, strict=True)]
        return SliceLogits(logits, np.array(scores, np.float32), logits[:, ::4, ::4].copy())


def _answer(grey: FloatArray, prompts: SlicePrompts, tolerance: float) -> BoolArray:
    mask = np.zeros(grey.shape, bool)
    earlier = _earlier_mask(grey, prompts)
    positive = prompts.points_xy[prompts.point_labels == 1]
    negative = prompts.points_xy[prompts.point_labels == 0]
    if earlier is not None and earlier.any():
        mask |= _touching(abs(grey - np.median(grey[earlier])) <= tolerance, earlier)
    elif prompts.box_xyxy is not None and not len(positive):
        left, top, right, bottom = prompts.box_xyxy
        mask |= _flood(grey, ((left + right) / 2, (top + bottom) / 2), tolerance)
    for point in positive:
        mask |= _flood(grey, point, tolerance)
    if prompts.box_xyxy is not None and earlier is None:
        mask &= _inside(grey.shape, prompts.box_xyxy)
    return mask & ~_nearer_to(negative, positive, grey.shape) if len(negative) else mask


def _earlier_mask(grey: FloatArray, prompts: SlicePrompts) -> BoolArray | None:
    if prompts.low_res_logits is not None:
        grown = np.kron(prompts.low_res_logits > 0, np.ones((4, 4), bool))
        return grown[: grey.shape[0], : grey.shape[1]]
    if prompts.mask_logits is not None:
        assert prompts.mask_logits.shape == grey.shape
        return np.asarray(prompts.mask_logits > 0)
    return None


def _flood(grey: FloatArray, point_xy: npt.ArrayLike, tolerance: float) -> BoolArray:
    x, y = np.clip(np.rint(np.asarray(point_xy)).astype(int), 0, (grey.shape[1] - 1, grey.shape[0] - 1))
    start = np.zeros(grey.shape, bool)
    start[y, x] = True
    return _touching(abs(grey - grey[y, x]) <= tolerance, start)


def _touching(alike: BoolArray, start: BoolArray) -> BoolArray:
    components, _ = ndimage.label(alike)
    wanted = np.unique(components[start & alike])
    return np.asarray(np.isin(components, wanted[wanted > 0]))


def _inside(shape: tuple[int, ...], box_xyxy: FloatArray) -> BoolArray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    left, top, right, bottom = box_xyxy
    inside = (columns >= left - 0.5) & (columns <= right + 0.5) & (rows >= top - 0.5) & (rows <= bottom + 0.5)
    return np.asarray(inside)


def _nearer_to(points_xy: FloatArray, others_xy: FloatArray, shape: tuple[int, ...]) -> BoolArray:
    """Pixels nearer to `points_xy` than to the others; without others, those within 6 pixels."""

    def distance(all_xy: FloatArray) -> FloatArray:
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        return np.min([np.hypot(columns - x, rows - y) for x, y in all_xy], axis=0).astype(np.float32)

    return np.asarray(distance(points_xy) < (distance(others_xy) if len(others_xy) else 6.0))

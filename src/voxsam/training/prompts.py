"""Prompts as people and propagation give them, and the corrections that follow an answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.training.noise import FloatArray, NoiseBank
from voxsam.training.scenes import BoolArray

__all__ = ["FIRST_CLICKS", "KINDS", "FirstPrompt", "correction_click", "first_prompt"]

KINDS = ("click", "box", "box+click", "mask", "clicks", "memory")
KIND_SHARES = (0.41, 0.39, 0.06, 0.11, 0.03, 0.0)
PAIR_SHARES = (0.30, 0.29, 0.05, 0.10, 0.02, 0.24)
FIRST_CLICKS = 4


@dataclass(frozen=True, eq=False)
class FirstPrompt:
    """What is known before the first answer.

    Parameters
    ----------
    kind : int
        Index into `KINDS`.
    points_xy : (FIRST_CLICKS, 2) float array
    point_labels : (FIRST_CLICKS,) int array
        -1 for padding.
    box_xyxy : (4,) float array or None
    mask_logits : (S / 2, S / 2) float array or None
    memory_logits : (S / 2, S / 2) float array or None
        The answer on the other image of a pair.
    """

    kind: int
    points_xy: FloatArray
    point_labels: npt.NDArray[np.int64]
    box_xyxy: FloatArray | None
    mask_logits: FloatArray | None
    memory_logits: FloatArray | None = None


def first_prompt(
    target: BoolArray,
    rng: np.random.Generator,
    bank: NoiseBank,
    *,
    neighbour: BoolArray | None = None,
    paired: bool = False,
    faint: bool = False,
    loose: bool = True,
) -> FirstPrompt:
    """Draw a first prompt for a target (S, S).

    Parameters
    ----------
    target : (S, S) bool array
        Empty only where it is `paired`: the structure ends before this slice.
    rng : numpy Generator
    bank : NoiseBank
    neighbour : (S, S) bool array, optional
        The same structure in a slice nearby.
    paired : bool
        The image of that slice is at hand, so that it may be remembered.
    faint : bool
        Little shows where the target ends: a single click is not enough.
    loose : bool
        Boxes may be much too large.
    """
    carried_on = paired and neighbour is not None and bool(neighbour.any())
    kind = int(rng.choice(len(KINDS), p=PAIR_SHARES if carried_on else KIND_SHARES))
    if faint and KINDS[kind] == "click" and rng.random() < 0.95:
        kind = KINDS.index("box" if rng.random() < 0.75 else "box+click")
    if not target.any():
        kind = KINDS.index("mask" if rng.random() < 0.4 else "memory")
    points: list[tuple[float, float, int]] = []
    box = logits = remembered = None
    if KINDS[kind] == "click":
        points = [_click(target, rng)]
    elif KINDS[kind] == "box":
        box = jitter_box(target, rng, loose=loose)
    elif KINDS[kind] == "box+click":
        box = jitter_box(target, rng, loose=loose)
        points = [_click(target, rng)]
    elif KINDS[kind] == "mask":
        earlier = earlier_logits(target, rng, bank, neighbour)
        logits, box, points = earlier, *_carried(earlier, target, rng)
    elif KINDS[kind] == "clicks":
        count = int(rng.integers(2, FIRST_CLICKS + 1))
        points = _stroke(target, rng, count) if rng.random() < 0.4 else [_click(target, rng) for _ in range(count)]
        if rng.random() < 0.4:
            points[-1] = _miss(target, rng)
    if (
        neighbour is not None
        and carried_on
        and (kind == KINDS.index("memory") or (logits is not None and rng.random() < 0.7))
    ):
        right = rng.random() < 0.75  # the walk's own answers are not always
        remembered = blurred_edge(neighbour, rng, bank) if right else earlier_logits(neighbour, rng, bank, None)
    xy, labels = np.zeros((FIRST_CLICKS, 2), np.float32), np.full(FIRST_CLICKS, -1)
    for i, (x, y, label) in enumerate(points):
        xy[i], labels[i] = (x, y), label
    return FirstPrompt(kind, xy, labels, box, logits, remembered)


def _click(target: BoolArray, rng: np.random.Generator) -> tuple[float, float, int]:
    """Half of the clicks fall deep inside, half anywhere."""
    if rng.random() < 0.5:
        depth = ndimage.distance_transform_edt(np.pad(target[::2, ::2], 1))[1:-1, 1:-1]
        if depth.any():
            ys, xs = np.nonzero(depth >= rng.uniform(0.6, 1) * depth.max())
            i = rng.integers(len(ys))
            y, x = 2 * ys[i], 2 * xs[i]
            return float(x), float(y), 1
    ys, xs = np.nonzero(target)
    i = rng.integers(len(ys))
    return float(xs[i]), float(ys[i]), 1


def _stroke(target: BoolArray, rng: np.random.Generator, count: int) -> list[tuple[float, float, int]]:
    """Draw a stroke from a place in the target: the points of it that stay inside."""
    x, y, label = _click(target, rng)
    pace = rng.uniform(0.1, 0.5) * np.sqrt(target.sum() / np.pi)
    angle, points = rng.uniform(0, 2 * np.pi), [(x, y, label)]
    for _ in range(count - 1):
        angle += rng.normal(0, 0.5)
        x, y = x + pace * np.cos(angle), y + pace * np.sin(angle)
        row, column = round(y), round(x)
        inside = 0 <= row < target.shape[0] and 0 <= column < target.shape[1] and target[row, column]
        points.append((float(column), float(row), 1) if inside else points[-1])
    return points


def _miss(target: BoolArray, rng: np.random.Generator) -> tuple[float, float, int]:
    """Draw a background click, more often near the target than far."""
    near = ndimage.binary_dilation(target[::2, ::2], iterations=int(rng.integers(2, 10))) & ~target[::2, ::2]
    ys, xs = np.nonzero(near if near.any() and rng.random() < 0.8 else ~target[::2, ::2])
    if not len(ys):
        return _click(target, rng)
    i = rng.integers(len(ys))
    return (float(2 * xs[i]), float(2 * ys[i]), 0) if not target[2 * ys[i], 2 * xs[i]] else _click(target, rng)


def jitter_box(target: BoolArray, rng: np.random.Generator, *, loose: bool = True) -> FloatArray:
    """Draw a box as people do: mostly close, sometimes `loose`, sometimes a little inside."""
    tight = bounds(target)
    sides = np.tile(tight[2:] - tight[:2] + 1, 2)
    style = rng.random() * (1.0 if loose else 0.82)
    if style < 0.52:
        move = rng.uniform(-0.02, 0.02, 4) * sides
    elif style < 0.82:
        move = rng.uniform(-0.06, 0.06, 4) * sides + rng.uniform(-1, 1, 4)
    elif style < 0.92:  # outward
        move = rng.uniform(0, 0.22, 4) * sides * np.array([-1, -1, 1, 1]) + rng.uniform(-1, 1, 4)
    elif style < 0.965:  # as a box around the whole organ lies on a slice near the organ's end
        move = rng.uniform(0, rng.uniform(0.3, 1.2), 4) * sides * np.array([-1, -1, 1, 1])
    else:
        move = rng.uniform(0, 0.08, 4) * sides * np.array([1, 1, -1, -1])
    return np.clip(tight + move, 0, np.tile(target.shape[::-1], 2) - np.float32(1)).astype(np.float32)


def bounds(mask: BoolArray) -> FloatArray:
    """Return the outer pixel centres (left, top, right, bottom) of a mask that is not empty."""
    ys, xs = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return np.array([xs[0], ys[0], xs[-1], ys[-1]], np.float32)


def earlier_logits(
    target: BoolArray, rng: np.random.Generator, bank: NoiseBank, neighbour: BoolArray | None
) -> FloatArray:
    """Return logits at half size as an earlier answer leaves them: of a neighbour, or shifted, grown, eaten away."""
    source = neighbour if neighbour is not None and neighbour.sum() > 12 and rng.random() < 0.8 else target
    half = source[::2, ::2]
    size = half.shape[0]
    distance = signed_distance(half)
    radius = max(np.sqrt(half.sum() / np.pi), 1.5)
    if source is target or rng.random() < 0.3:
        grow = np.exp(rng.normal(0, 0.1, 2))
        centre = np.argwhere(half).mean(0) if half.any() else np.full(2, size / 2)
        offset = centre - grow * centre + rng.normal(0, 0.12, 2) * radius
        distance = ndimage.affine_transform(distance, grow, offset, order=1, mode="nearest")
        distance = distance + np.float32(rng.normal(0, 0.1) * radius)
    rough = np.float32(rng.choice([0, 0.1, 0.25]) * radius) * bank.cut(rng, size, scale_px=radius / 2)
    sharpness = np.float32(np.exp(rng.uniform(-0.5, 1.5)))
    return np.asarray(np.clip((distance + rough) * sharpness, -12, 12), np.float32)


def blurred_edge(mask: BoolArray, rng: np.random.Generator, bank: NoiseBank) -> FloatArray:
    """Return logits at half size of an answer that is right but for its edge: what is remembered was looked at."""
    half = mask[::2, ::2]
    distance = signed_distance(half)
    radius = max(np.sqrt(half.sum() / np.pi), 1.5)
    rough = np.float32(rng.choice([0, 0.05, 0.15]) * radius) * bank.cut(rng, half.shape[0], scale_px=radius / 2)
    sharpness = np.float32(np.exp(rng.uniform(0, 1.5)))
    return np.asarray(np.clip((distance + rough) * sharpness, -12, 12), np.float32)


def signed_distance(mask: BoolArray) -> FloatArray:
    """Distance to the border in pixels, positive inside, at most 12 either way."""
    distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    return np.clip(distance, -12, 12).astype(np.float32)


def _carried(
    logits: FloatArray, target: BoolArray, rng: np.random.Generator
) -> tuple[FloatArray | None, list[tuple[float, float, int]]]:
    """Return box and click that propagation takes from an earlier answer; the click only where it is right."""
    mask = logits > 0
    if mask.sum() < 4:
        return None, []
    box = None
    if rng.random() < 0.6:
        margin = rng.uniform(0, 4)
        box = 2 * bounds(mask) + np.array([-margin, -margin, 1 + margin, 1 + margin], np.float32)
        box = np.clip(box, 0, target.shape[0] - 1).astype(np.float32)
    points: list[tuple[float, float, int]] = []
    if rng.random() < 0.55:
        y, x = np.unravel_index(int(logits.argmax()), logits.shape)
        if target[2 * y, 2 * x]:
            points = [(2.0 * float(x), 2.0 * float(y), 1)]
    return box, points


def correction_click(target: BoolArray, answer: BoolArray, rng: np.random.Generator) -> tuple[float, float, int] | None:
    """Return a click (x, y, label) in the deepest error of an answer, both at half size; None if there is no error.

    Examples
    --------
    >>> target = np.zeros((8, 8), bool); target[2:7, 2:7] = True
    >>> x, y, label = correction_click(target, np.zeros((8, 8), bool), np.random.default_rng(0))
    >>> label, bool(target[int(y) // 2, int(x) // 2])
    (1, True)
    """
    wrong = target != answer
    if not wrong.any():
        return None
    depth = ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1]
    deepest = depth.max()
    loose = rng.uniform(0.5, 0.95) if rng.random() < 0.5 else 0.999
    ys, xs = np.nonzero(depth >= loose * deepest)
    i = rng.integers(len(ys))
    return float(2 * xs[i] + rng.integers(2)), float(2 * ys[i] + rng.integers(2)), int(target[ys[i], xs[i]])

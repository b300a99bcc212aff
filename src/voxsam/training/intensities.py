"""Grey values for a label map, and what scanners do to them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from voxsam.training.noise import FloatArray, NoiseBank
from voxsam.training.scenes import Scene

__all__ = ["degrade", "render", "to_display"]


def render(
    scene: Scene, rng: np.random.Generator, bank: NoiseBank, *, grain: np.random.Generator | None = None
) -> FloatArray:
    """Paint a scene with tissue values and textures, roughly in 0..1, without noise.

    The next slice of the same anatomy is rendered with an equal `rng` and a `grain` of its own.
    """
    size = scene.labels.shape[0]
    values = _tissue_values(scene, rng)
    image = values[scene.labels]
    count = len(values)
    sigma = np.where(rng.random(count) < 0.5, np.exp(rng.uniform(np.log(0.01), np.log(0.12), count)), 0)
    texture = bank.cut(grain or rng, size, scale_px=float(np.exp(rng.uniform(0, np.log(8)))))
    for region, same in scene.alike.items():
        sigma[region] = sigma[same]
    image = image + sigma.astype(np.float32)[scene.labels] * texture
    if rng.random() < 0.5:  # contents of bowel, necrosis: patches of another value inside one region
        patchy = np.where(rng.random(count) < 0.15, rng.normal(0, 0.25, count), 0).astype(np.float32)
        for region, same in scene.alike.items():
            patchy[region] = patchy[same]
        patches = bank.cut(rng, size, scale_px=float(np.exp(rng.uniform(np.log(2), np.log(16))))) > rng.uniform(-0.5, 1)
        image = image + patchy[scene.labels] * patches
    if scene.shading is not None:
        image = image + np.float32(rng.choice([-1, 1]) * rng.uniform(0.0, 0.5)) * scene.shading
    if rng.random() < 0.3:
        image = image + np.float32(rng.uniform(0, 0.1)) * bank.cut(rng, size, scale_px=64)
    blur = rng.uniform(0, 1.6) * size / 160
    return ndimage.gaussian_filter(image, blur) if blur > 0.3 else image


def _tissue_values(scene: Scene, rng: np.random.Generator) -> FloatArray:
    soft = rng.random() < 0.5  # soft tissues alike, as in most CT windows
    count = int(rng.integers(2, 7))
    palette = rng.normal(rng.uniform(0.35, 0.65), rng.uniform(0.05, 0.15), count) if soft else rng.random(count)
    least = rng.choice([0.03, 0.06, 0.12], p=[0.25, 0.4, 0.35])
    values = np.zeros(len(scene.parents), np.float32)
    values[0] = 0.0 if rng.random() < 0.85 else rng.random()
    for region in range(1, len(values)):
        for _ in range(8):
            shared = rng.random() < (0.75 if soft else 0.6)
            values[region] = rng.choice(palette) + rng.normal(0, 0.03) if shared else rng.random()
            if abs(values[region] - values[scene.parents[region]]) >= least:
                break
    for region, same in scene.alike.items():
        values[region] = values[same] + rng.normal(0, 0.01)
    return values


def degrade(
    image: FloatArray, rng: np.random.Generator, bank: NoiseBank, *, grain: np.random.Generator | None = None
) -> tuple[FloatArray, float]:
    """Add bias, coarse sampling, streaks and noise; returns the image and the size of its noise.

    The noise itself comes from `grain`, where two slices share everything else.
    """
    size, grain = image.shape[0], grain or rng
    if rng.random() < 0.3:
        image = image * np.exp(np.float32(rng.uniform(0.05, 0.35)) * bank.cut(rng, size, scale_px=size / 3))
    if rng.random() < 0.35:
        image = _coarse(image, rng)
    if rng.random() < 0.06:
        image = image + _streaks(size, rng)
    if rng.random() < 0.06:
        image = _ghosted(image, rng)
    sigma = float(np.exp(rng.uniform(np.log(0.004), np.log(0.1))))
    kind = rng.random()
    white = grain.standard_normal(image.shape, dtype=np.float32)
    if kind < 0.35:
        noise = white
    elif kind < 0.7:  # reconstruction kernels and interpolation correlate noise
        noise = bank.cut(grain, size, scale_px=float(rng.choice([1.0, 1.0, 2.0])))
    elif kind < 0.85:
        noise = white * np.sqrt(np.clip(image, 0.02, 2)) * np.float32(1.4)
    else:
        real = image + np.float32(sigma) * white
        other = np.float32(sigma) * grain.standard_normal(image.shape, dtype=np.float32)
        return np.sqrt(real * real + other * other), sigma
    return image + np.float32(sigma) * noise, sigma


def _coarse(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Sample more coarsely along one or both axes, and back."""
    size = image.shape[0]
    factors = np.exp(rng.uniform(0, np.log(4), 2)) if rng.random() < 0.5 else np.full(2, rng.uniform(1.2, 3))
    if rng.random() < 0.4:
        factors[rng.integers(2)] = 1
    for axis, factor in enumerate(factors):
        if factor < 1.1:
            continue
        image = np.moveaxis(image, axis, 0)
        smooth = ndimage.uniform_filter1d(image, max(1, round(factor)), axis=0)
        at = np.arange(0, size - 1 + factor, factor).clip(0, size - 1)
        position = np.interp(np.arange(size), at, np.arange(len(at)))
        low = position.astype(int)
        high = np.minimum(low + 1, len(at) - 1)
        weight = (position - low).astype(np.float32)[:, None]
        rows = smooth[np.round(at).astype(int)]
        image = np.moveaxis(rows[low] * (1 - weight) + rows[high] * weight, 0, axis)
    return image


def _streaks(size: int, rng: np.random.Generator) -> FloatArray:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    angle = np.arctan2(y - rng.random(), x - rng.random()).astype(np.float32)
    wave = np.sin(angle * rng.integers(5, 25) + rng.uniform(0, 6)) * np.sin(angle * rng.integers(3, 17))
    return np.asarray(wave * rng.uniform(0.02, 0.12), np.float32)


def _ghosted(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Move the patient while the lines of k-space are taken: faint copies along one axis."""
    axis, shift = int(rng.integers(2)), int(rng.integers(3, max(4, image.shape[0] // 4)))
    weight = np.float32(rng.uniform(0.04, 0.2))
    copies = np.roll(image, shift, axis) + np.roll(image, -shift, axis)
    return np.asarray((1 - weight) * image + weight / 2 * copies, np.float32)


def to_display(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Window (H, W) to three channels (3, H, W) in 0..1: mostly one grey image, sometimes three windows."""
    ends = np.percentile(image[::2, ::2], [rng.uniform(0, 2), rng.uniform(98, 100)])
    low, span = float(ends[0]), max(float(ends[1] - ends[0]), 1e-3)  # an image may be flat
    high = low + span
    if rng.random() < 0.35:
        low, high = low + span * rng.uniform(0, 0.35), high - span * rng.uniform(0, 0.4)
    grey = np.clip((image - low) / max(high - low, 1e-3), 0, 1)
    if rng.random() < 0.3:
        grey = grey ** np.float32(np.exp(rng.uniform(-0.6, 0.6)))
    if rng.random() < 0.1:
        grey = 1 - grey
    if rng.random() < 0.9:
        return np.asarray(np.broadcast_to(grey, (3, *grey.shape)))
    span = max(high - low, 1e-3)
    channels = []
    for _ in range(3):
        width, middle = span * rng.uniform(0.3, 1.6), rng.uniform(low, high)
        channels.append(np.clip((image - middle) / width + 0.5, 0, 1))
    return np.stack(channels)

"""Smooth random fields, made once and cut at random: the generator's source of everything irregular."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["FloatArray", "NoiseBank"]

FloatArray = npt.NDArray[np.float32]
SCALES_PX = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
PERIOD_PX = 256
FIELDS = 10


class NoiseBank:
    """Periodic Gaussian fields of unit variance at several correlation lengths.

    Cutting a field costs microseconds, filtering a new one milliseconds.

    Parameters
    ----------
    seed : int

    Examples
    --------
    >>> NoiseBank(seed=0).cut(np.random.default_rng(0), 64, scale_px=8.0).shape
    (64, 64)
    """

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        frequency = np.fft.fftfreq(PERIOD_PX)
        squared = frequency[:, None] ** 2 + frequency[None, : PERIOD_PX // 2 + 1] ** 2
        self._fields = []
        for scale in SCALES_PX:
            low_pass = np.exp(-2 * (np.pi * scale) ** 2 * squared)
            low_pass[0, 0] = 0
            white = np.fft.rfft2(rng.standard_normal((FIELDS, PERIOD_PX, PERIOD_PX)))
            fields = np.fft.irfft2(white * low_pass, s=(PERIOD_PX, PERIOD_PX))
            fields /= fields.std(axis=(1, 2), keepdims=True)
            self._fields.append(np.tile(fields.astype(np.float32), (1, 2, 2)))

    def cut(self, rng: np.random.Generator, size: int, *, scale_px: float) -> FloatArray:
        """Cut a `size` x `size` field with a correlation length near `scale_px` (at most `size` 256)."""
        fields = self._fields[int(np.clip(round(np.log2(max(scale_px, 1.0))), 0, len(SCALES_PX) - 1))]
        y, x = rng.integers(PERIOD_PX, size=2)
        field = fields[rng.integers(FIELDS), y : y + size, x : x + size]
        turn = rng.integers(4)
        field = field.T if turn & 1 else field
        field = field[::-1] if turn & 2 else field
        return -field if rng.random() < 0.5 else field

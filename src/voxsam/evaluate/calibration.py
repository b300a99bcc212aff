"""How honest a model's own estimate of its quality is: predicted against true intersection over union."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxsam.evaluate.scores import Score

__all__ = ["Calibration", "calibrations", "iou_of_dice"]

#: Fewer answers than this say nothing about a correlation.
LEAST_ANSWERS = 10
#: The step that stands for all steps of a protocol together.
ALL_STEPS = "all"


@dataclass(frozen=True)
class Calibration:
    """Predicted against true quality of one method's answers on slices.

    Parameters
    ----------
    protocol, method, step : str
        The step is ``"all"`` for all steps together.
    correlation : float
        Pearson's, of predicted and true intersection over union.
    bias : float
        Mean of predicted less true: positive where the model thinks too well of itself.
    error : float
        Mean of the absolute difference.
    answers : int
    """

    protocol: str
    method: str
    step: str
    correlation: float
    bias: float
    error: float
    answers: int

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, rounded."""
        numbers = {name: round(getattr(self, name), 4) for name in ("correlation", "bias", "error")}
        return {
            "protocol": self.protocol,
            "method": self.method,
            "step": self.step,
            **numbers,
            "answers": self.answers,
        }


def iou_of_dice(dice: float) -> float:
    """Return the intersection over union that belongs to a Dice.

    Examples
    --------
    >>> iou_of_dice(0.5), iou_of_dice(1.0)
    (0.3333333333333333, 1.0)
    """
    return dice / (2 - dice)


def calibrations(scores: Iterable[Score]) -> tuple[Calibration, ...]:
    """Compare predicted with true quality, step by step and over all steps of a protocol.

    Parameters
    ----------
    scores : iterable of Score
        Those without a predicted quality, and those whose truth is a model's output, are left out.
    """
    pairs: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for score in scores:
        if score.quality is None or not score.counted:
            continue
        pair = (score.quality, iou_of_dice(score.dice))
        for step in (ALL_STEPS, score.step):
            pairs[score.protocol, score.method, step].append(pair)
    return tuple(_calibration(*key, np.array(found)) for key, found in pairs.items() if len(found) >= LEAST_ANSWERS)


def _calibration(protocol: str, method: str, step: str, pairs: np.ndarray[Any, np.dtype[np.float64]]) -> Calibration:
    predicted, true = pairs.T
    spread = float(predicted.std() * true.std())
    correlation = float(((predicted - predicted.mean()) * (true - true.mean())).mean() / spread) if spread else 0.0
    off = predicted - true
    return Calibration(protocol, method, step, correlation, float(off.mean()), float(np.abs(off).mean()), len(pairs))

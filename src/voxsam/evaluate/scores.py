"""One line per target, method and step: what an evaluation measures before anything is averaged."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Evidence", "Score"]


@dataclass(frozen=True)
class Score:
    """How one method did on one target after one step.

    Parameters
    ----------
    protocol, method, step : str
        A step is ``"box"``, ``"3 clicks"``, ...
    dataset, case, patient, modality, body : str
    label : int
    label_name, group, size_class : str
    counted : bool
        False where the truth is itself a model's output: reported apart.
    plane : str
    index : int
        Of the slice; in 3D that of the first prompt.
    dice : float
    seconds : float
        Of this step, from the prompt to the answer.
    nsd : float or None
        Surface Dice at 2 mm; 3D only.
    dice_unbounded : float or None
        ``seed-and-propagate``: Dice without cutting the answer at the structure's first and last slice.
    carried_mm, carried_share : float or None
        ``seed-and-propagate``: how far from the seed, mean of both ways, the slices keep a Dice of 0.8; and as a share
        of the way to the structure's ends.
    quality : float or None
        On slices: the intersection over union that the model itself expected.
    """

    protocol: str
    method: str
    step: str
    dataset: str
    case: str
    patient: str
    modality: str
    body: str
    label: int
    label_name: str
    group: str
    size_class: str
    counted: bool
    plane: str
    index: int
    dice: float
    seconds: float
    nsd: float | None = None
    dice_unbounded: float | None = None
    carried_mm: float | None = None
    carried_share: float | None = None
    quality: float | None = None

    @property
    def target(self) -> tuple[str, str, int, int]:
        """What was asked for, whoever answered."""
        return self.dataset, self.case, self.label, self.index

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(field.name for field in fields(cls))

    def to_json(self) -> dict[str, Any]:
        """Return the numbers rounded to what they mean."""
        return {name: round(v, 5) if isinstance(v, float) else v for name, v in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Evidence:
    """A score with what it looked like: one slice, the truth and the answer on it.

    Parameters
    ----------
    score : Score
    pixels : (rows, columns) float array in 0..1
    truth, found : (rows, columns) bool array
    spacing_mm : tuple of float
        Down the rows, along the columns.
    flips : tuple of bool
        Whether rows and columns run against the display.
    """

    score: Score
    pixels: npt.NDArray[np.float32]
    truth: npt.NDArray[np.bool_]
    found: npt.NDArray[np.bool_]
    spacing_mm: tuple[float, float]
    flips: tuple[bool, bool]

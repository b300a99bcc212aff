"""What a segmentation says about itself: slice by slice, and enough to repeat the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

__all__ = ["Report", "SliceReport", "SliceSource"]

SCHEMA = "voxsam-report/1"

#: prompted: the user said something here. propagated: carried on from a neighbour. interpolated: its shape was drawn
#: between two prompted slices, without a look at the picture. stopped: looked at and turned down.
SliceSource = Literal["prompted", "propagated", "interpolated", "stopped"]


@dataclass(frozen=True)
class SliceReport:
    """Where the mask of one slice came from, and how far to trust it.

    Parameters
    ----------
    index : int
        Of the slice, along the plane's normal array axis.
    source : {"prompted", "propagated", "interpolated", "stopped"}
    overlap : float or None
        Intersection over union with the neighbour that it came from; between two prompted slices, of the answers
        from either side. None on prompted slices.
    area_mm2 : float
        Of the mask; of the mask turned down where the source is ``"stopped"``.
    quality : float or None
        The model's own estimate of its intersection over union; None where the model had no say.
    reason : str
        Why the mask ended here, or what was done instead; empty where there is nothing to say.

    Examples
    --------
    >>> SliceReport(41, "propagated", overlap=0.93, area_mm2=812.0, quality=0.88).to_json()["source"]
    'propagated'
    """

    index: int
    source: SliceSource
    overlap: float | None
    area_mm2: float
    quality: float | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, rounded to what they mean."""
        return {
            "index": self.index,
            "source": self.source,
            "overlap": _rounded(self.overlap, 3),
            "area_mm2": _rounded(self.area_mm2, 2),
            "quality": _rounded(self.quality, 3),
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Report:
    """How a mask was made: what was asked, of which model, on which scan, and what came of it.

    Parameters
    ----------
    scan : mapping
        Name, fingerprint, modality, shape, spacing and affine.
    prompts : mapping
        The prompts' document, as `voxsam.prompts.dump_prompts` writes it.
    model : mapping
        Name, licence and the hash of the weights.
    settings : mapping
        Plane, windows, enhancements and the rules of every step.
    slices : tuple of SliceReport
        In order of their index.
    volume_ml : float
    timings_s : mapping of str to float
        By step.
    versions : mapping of str to str

    Examples
    --------
    >>> report = Report(slices=(SliceReport(4, "stopped", 0.1, 3.0, 0.4, "overlap 0.10 is below 0.50"),))
    >>> report.to_json()["schema"]
    'voxsam-report/1'
    >>> [s.index for s in report.of_source("stopped")]
    [4]
    """

    scan: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    slices: tuple[SliceReport, ...] = ()
    volume_ml: float = 0.0
    timings_s: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("scan", "prompts", "model", "settings", "timings_s", "versions"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def of_source(self, source: SliceSource) -> tuple[SliceReport, ...]:
        """Return the slices of one source."""
        return tuple(s for s in self.slices if s.source == source)

    def to_json(self) -> dict[str, Any]:
        """Return a document that `json.dump` takes."""
        return {
            "schema": SCHEMA,
            "scan": dict(self.scan),
            "prompts": dict(self.prompts),
            "model": dict(self.model),
            "settings": dict(self.settings),
            "slices": [s.to_json() for s in self.slices],
            "volume_ml": round(self.volume_ml, 4),
            "timings_s": {step: round(seconds, 4) for step, seconds in self.timings_s.items()},
            "versions": dict(self.versions),
        }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)

"""A training run as data."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from voxsam.errors import InputError

__all__ = ["PARTS", "Config", "Phase"]

#: What the generator can do without.
PARTS = ("anatomy", "solids", "nesting", "degradation", "loose boxes")


@dataclass(frozen=True)
class Phase:
    """A stretch of training at one image size.

    Parameters
    ----------
    until : float
        Share of the whole run, 0..1, at which it ends.
    size_px : int
        Side of the square training images; a multiple of 16.
    images : int
        Images in a batch.
    """

    until: float
    size_px: int
    images: int


@dataclass(frozen=True)
class Config:
    """Everything that decides a run; a JSON file with the same names overrides the defaults.

    Parameters
    ----------
    phases : tuple of Phase
    steps : int
        Length of the run, unless a length in minutes is given when it starts.
    prompts : int
        Prompt sets (targets) for each image.
    learning_rate, weight_decay, warmup_steps, clip_norm, ema : float
    hold : float
        Share of the run at full learning rate; a cosine to almost zero follows.
    round_shares : tuple of float
        How often a batch gets 1, 2, 3, … rounds of corrections.
    real_label_share, real_image_share : float
        Shares of scenes from real label maps, and of real images, where prepared data is at hand.
    reuse : int
        Images rendered from one scene within a batch.
    pair_share : float
        Share of scenes of which two slices are rendered that belong together, for the slice memory.
    without : tuple of str
        Parts of the generator to leave out, to learn what they are worth: ``"anatomy"`` (bodies, heads, spines,
        hearts), ``"solids"`` (spines and hearts alone), ``"nesting"`` (structures inside structures),
        ``"degradation"`` (noise, bias, coarse sampling), ``"loose boxes"``.
    workers : int
        Processes that make batches; 0 makes them in the training process.
    seed : int
    data : str or None
        Folder written by ``prepare``; None reads the environment variable VOXSAM_DATA.

    Examples
    --------
    >>> Config(steps=10).steps
    10
    """

    phases: tuple[Phase, ...] = (Phase(0.62, 128, 12), Phase(0.8, 192, 6), Phase(1.0, 256, 4))
    steps: int = 12000
    prompts: int = 3
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.03
    warmup_steps: int = 200
    hold: float = 0.25
    clip_norm: float = 1.0
    ema: float = 0.998
    round_shares: tuple[float, ...] = (0.1, 0.5, 0.27, 0.08, 0.05)
    real_label_share: float = 0.15
    real_image_share: float = 0.25
    reuse: int = 2
    pair_share: float = 0.5
    without: tuple[str, ...] = ()
    workers: int = 1
    seed: int = 0
    checkpoint_minutes: float = 3.0
    data: str | None = None

    @classmethod
    def from_json(cls, path: Path) -> Config:
        """Read a configuration.

        Raises
        ------
        InputError
            If a name is unknown.
        """
        raw = json.loads(path.read_text())
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(raw) - known)
        if unknown:
            raise InputError(f"{path} names unknown settings {unknown}; known are {sorted(known)}")
        if "phases" in raw:
            raw["phases"] = tuple(Phase(**phase) for phase in raw["phases"])
        for name in ("round_shares", "without"):
            if name in raw:
                raw[name] = tuple(raw[name])
        return cls(**raw)

    def __post_init__(self) -> None:
        for part in self.without:
            if part not in PARTS:
                raise InputError(f"the generator has no part {part!r} to leave out; it has {', '.join(PARTS)}")

    def to_json(self) -> str:
        """Write the configuration, so that a run can be repeated."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    def phase_at(self, progress: float) -> Phase:
        """Return the phase at a share of the run."""
        return next((phase for phase in self.phases if progress < phase.until), self.phases[-1])

    @property
    def data_folder(self) -> Path | None:
        """Where prepared real data lies, if anywhere."""
        named = self.data or os.environ.get("VOXSAM_DATA")
        return Path(named) if named else None

"""What an edit led to, made ready for the window on the worker's thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from voxsam.geometry import Geometry
from voxsam.session import CroppedMask, Session, SessionState
from voxsam_napari.compose import Composer, Patch

__all__ = ["Reader", "Update"]

_BITS_IN_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)


@dataclass(frozen=True, eq=False)
class Update:
    """A session after an edit.

    Parameters
    ----------
    value : object
        What the edit returned.
    state : SessionState
    patch : Patch or None
        What of the label picture changed.
    can_undo, can_redo : bool
    volumes_ml : dict of int to float
        By object, for those that have a mask.
    journal : str
        Where the edits are kept; empty where they are not, or there is none yet.
    """

    value: Any
    state: SessionState
    patch: Patch | None
    can_undo: bool
    can_redo: bool
    volumes_ml: dict[int, float]
    journal: str


class Reader:
    """Reads updates off one session; for the worker's thread.

    Parameters
    ----------
    session : Session
    geometry : Geometry
        Of its scan.
    """

    def __init__(self, session: Session, geometry: Geometry) -> None:
        self.session = session
        self.composer = Composer(geometry)
        #: The object of the last prompt: what is said before the window knows of it goes to it too.
        self.begun: int | None = None
        self._voxel_ml = geometry.voxel_volume_mm3 / 1000.0
        self._volumes: dict[int, tuple[CroppedMask, float]] = {}

    def object_for(self, chosen: int | None) -> int | None:
        """Return the object that is meant: the chosen one, else the last begun; None where that is no more."""
        wanted = self.begun if chosen is None else chosen
        return wanted if any(item.id == wanted for item in self.session.state.objects) else None

    def read(self, value: Any = None) -> Update:
        """Return the session as it is now."""
        state = self.session.state
        self._volumes = {item.id: self._measured(item.id, item.mask) for item in state.objects if item.mask is not None}
        return Update(
            value,
            state,
            self.composer.patch(state),
            self.session.can_undo,
            self.session.can_redo,
            {key: volume for key, (_, volume) in self._volumes.items()},
            str(getattr(self.session, "journal_path", None) or ""),
        )

    def _measured(self, key: int, mask: CroppedMask) -> tuple[CroppedMask, float]:
        known = self._volumes.get(key)
        if known is not None and known[0] is mask:
            return known
        return mask, float(_BITS_IN_BYTE[mask.packed].sum()) * self._voxel_ml

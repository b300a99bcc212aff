"""Who gets a voxel that two objects want: the overlap policy, locked objects, and the region not to touch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from voxsam.cropped import CroppedMask, union_box
from voxsam.state import ObjectState, SessionState

__all__ = ["settled", "yields_to"]

BoolArray = npt.NDArray[np.bool_]
Triple = tuple[int, int, int]


def settled(state: SessionState, changed: ObjectState, wanted: CroppedMask) -> SessionState:
    """Write an object's mask, and settle what it meets.

    Parameters
    ----------
    state : SessionState
        With its policy; `changed` may be new to it.
    changed : ObjectState
        Everything of it but its mask.
    wanted : CroppedMask
        Its mask, as if it were alone.

    Returns
    -------
    SessionState
        Locked objects are as they were, and so is every voxel of the protected region.

    Examples
    --------
    >>> row = CroppedMask.of(np.array([[[True, True, False]]]))
    >>> end = CroppedMask.of(np.array([[[False, True, True]]]))
    >>> liver = ObjectState(1, "liver", (0.9, 0.6, 0.0), mask=row)
    >>> cyst = ObjectState(2, "cyst", (0.3, 0.7, 0.9))
    >>> settled(SessionState((liver,)), cyst, end).object(2).mask.to_array().tolist()
    [[[False, False, True]]]
    >>> settled(SessionState((liver,), overlap="overwrite"), cyst, end).object(1).mask.to_array().tolist()
    [[[True, False, False]]]
    """
    earlier = changed.mask
    low, high = wanted.low_zyx, wanted.high_zyx
    if earlier is not None and state.protected is not None:
        low, high = union_box(wanted, earlier)
    part = wanted.part(low, high)
    for other in state.objects:
        if other.id != changed.id and other.mask is not None and _keeps(other, state):
            part &= ~other.mask.part(low, high)
    if state.protected is not None:
        shut = state.protected.part(low, high)
        part &= ~shut
        if earlier is not None:
            part |= shut & earlier.part(low, high)
    mask = CroppedMask.placed(part, low, wanted.shape)
    if state.overlap == "overwrite":
        for other in state.objects:
            if other.id != changed.id and other.mask is not None and not other.locked:
                state = state.with_object(replace(other, mask=_without(other.mask, mask, state.protected)))
    return state.with_object(replace(changed, mask=mask if mask != earlier else earlier))


def yields_to(state: SessionState, object_id: int) -> tuple[CroppedMask, ...]:
    """Return the masks in front of which a mask of this object ends, the protected region among them."""
    others = [
        other.mask
        for other in state.objects
        if other.id != object_id and other.mask is not None and _keeps(other, state)
    ]
    return tuple(others if state.protected is None else [*others, state.protected])


def _keeps(other: ObjectState, state: SessionState) -> bool:
    return state.overlap == "keep" or (state.overlap == "overwrite" and other.locked)


def _without(mask: CroppedMask, taken: CroppedMask, protected: CroppedMask | None) -> CroppedMask:
    """Take voxels away, but none of the protected region; the very mask where nothing changes."""
    box = mask.box
    gone = taken.part(mask.low_zyx, mask.high_zyx)
    if protected is not None:
        gone &= ~protected.part(mask.low_zyx, mask.high_zyx)
    if not (box & gone).any():
        return mask
    return CroppedMask.placed(box & ~gone, mask.low_zyx, mask.shape)

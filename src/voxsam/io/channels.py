"""Files with more than one number per voxel: choose one channel, refuse colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from voxsam.errors import FormatError

__all__ = ["chosen_channel", "refuse_colour"]


def chosen_channel(path: Path, extra: tuple[int, ...], channel: int | None) -> int:
    """Return the index of the wanted channel among the axes beyond the third, counted first axis fastest.

    Parameters
    ----------
    path : Path
        For the message.
    extra : tuple of int
        Lengths of the axes beyond the third; empty for a 3D file.
    channel : int or None
        What the caller asked for, from 0.

    Raises
    ------
    FormatError
        If there are several and none was asked for, or the one asked for does not exist.

    Examples
    --------
    >>> chosen_channel(Path("scan.nii"), (1, 5), 3)
    3
    """
    count = int(np.prod(extra, dtype=np.int64))
    if channel is None and count > 1:
        raise FormatError(
            f"{path} holds {count} volumes: expected a 3D scan, got {3 + len(extra)}D; "
            f"choose one with channel=0 to channel={count - 1} (on the command line: --channel)"
        )
    if channel is not None and not 0 <= channel < count:
        raise FormatError(f"{path} has no channel {channel}: expected 0{f' to {count - 1}' if count > 1 else ''}")
    return channel or 0


def refuse_colour(path: Path, dtype: np.dtype[Any]) -> None:
    """Raise for pixels that are colours or complex numbers."""
    if dtype.names or dtype.kind == "c":
        kind = "colours (RGB)" if dtype.names else "complex numbers"
        raise FormatError(
            f"{path} holds {kind}: expected one real number per voxel; convert it to "
            f"{'a grey' if dtype.names else 'a magnitude'} image first"
        )

"""Memory for a fair race: what either side frees stays with the process, however much it is."""

from __future__ import annotations

import ctypes

from voxsam.allocator import keep_memory

__all__ = ["keep_all_memory"]

_M_TRIM_THRESHOLD = -1  # malloc.h
_NEVER = -1


def keep_all_memory() -> bool:
    """Keep freed memory without the limit that voxsam's programs have.

    `keep_memory` lets go of what is beyond 2 GiB. voxsam's encoders never have so much free; the published code of the
    larger ones has, and would take twice the time for being handed its pages again and again.
    """
    return keep_memory() and bool(ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _NEVER))

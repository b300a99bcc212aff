"""Memory that stays with the process: glibc hands every large array back to the system, and faults it in anew."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_memory"]

#: glibc's names for what `keep_memory` sets (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_memory() -> bool:
    """Ask glibc to keep freed memory for the next large array.

    An image encoder makes and drops arrays of many megabytes. Each would be mapped from the system, and each of its
    pages faulted in and cleared; memory that is kept pays for that once. The setting concerns the whole process for as
    long as it lives, so it belongs to a program's entry (a command line, a server, a worker), not to a library call.
    Call it before threads start.

    Returns
    -------
    bool
        False where the system has another allocator: nothing was done.

    Examples
    --------
    >>> isinstance(keep_memory(), bool)
    True
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    kept = mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    # a thread's own arena grows to 64 MiB at most and is unmapped when empty: let all threads share the one that stays
    return bool(kept and mallopt(_M_ARENA_MAX, 1))

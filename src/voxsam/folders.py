"""Where voxsam keeps what it may make again, and what it saves by itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["user_cache_dir"]


def user_cache_dir() -> Path:
    """Return the user's own cache folder on this system, with a folder for voxsam in it; it need not exist.

    Examples
    --------
    >>> user_cache_dir().name
    'voxsam'
    """
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "voxsam"

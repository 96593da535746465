"""Where unmask keeps what it can make again: dequantised weights, downloaded wheels, file hashes."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """The cache folder, made if absent: `$UNMASK_CACHE`, else `unmask` under the platform's user cache."""
    chosen = os.environ.get("UNMASK_CACHE")
    folder = Path(chosen).expanduser() if chosen else _user_cache() / "unmask"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")

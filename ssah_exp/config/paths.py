"""Where runs lie when no config is at hand."""

from __future__ import annotations

import os
from pathlib import Path


def runs_root() -> Path:
    """``SSAH_ROOT`` or ``outputs``: the default of ``paths.root``."""
    return Path(os.environ.get("SSAH_ROOT", "outputs")).expanduser()


def root_of(given: str | None) -> Path:
    """The root a command was given, or the default."""
    return Path(given).expanduser() if given else runs_root()

"""Where runs lie when no config is at hand."""

from __future__ import annotations

import os
from pathlib import Path


def runs_root() -> Path:
    """``SSAH_ROOT`` or ``outputs``: the default of ``paths.root``."""
    return Path(os.environ.get("SSAH_ROOT", "outputs")).expanduser()

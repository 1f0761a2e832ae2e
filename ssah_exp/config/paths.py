"""Where runs lie when no config is at hand."""

from __future__ import annotations

import os
from pathlib import Path


def root_of(given: str | None) -> Path:
    """What a command was given, or the default of ``paths.root``: ``SSAH_ROOT`` or ``outputs``."""
    return Path(given or os.environ.get("SSAH_ROOT", "outputs")).expanduser()

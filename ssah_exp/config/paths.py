"""Where runs lie when no config is at hand."""

from __future__ import annotations

import os
from pathlib import Path

from ssah_exp.errors import ConfigError


def root_of(given: str | None) -> Path:
    """The root a command was given, or the default of ``paths.root``: ``SSAH_ROOT`` or ``outputs``.

    Raises:
        ConfigError: ``SSAH_ROOT`` is set but empty: runs would be looked for in the current folder.
    """
    usual = os.environ.get("SSAH_ROOT", "outputs")
    if not given and not usual.strip():
        raise ConfigError("SSAH_ROOT is empty; set it to a folder or not at all.")
    return Path(given or usual).expanduser()

"""A real browser for tests, and why there is none where there is none."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

# Nothing but the page: no start page, no updates, no sync.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """Path of an installed Chromium or Chrome; ``CHROMIUM`` names another."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = (shutil.which(name) for name in names)
    return os.environ.get("CHROMIUM") or next((path for path in found if path), None)


def missing() -> str:
    """What a test in a browser lacks; empty: nothing."""
    if find_spec("playwright") is None:
        return "the package playwright is not installed"
    return "" if chromium() else "no Chromium is installed (Debian: apt-get install chromium)"

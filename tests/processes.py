"""Waiting for other processes, and whether they are there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def until(what: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until ``what`` is true; return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return found


def alive(process: int) -> bool:
    """Whether it is there, and not just unread by whoever inherited it."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"

"""A folder that one may not look into, as an ordinary user finds it: tests may run as root."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def forbid(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have a folder (mode 0700, another user's) refuse to be listed, and all within to be seen."""
    for module, name in ((os, "listdir"), (os, "scandir"), (os, "stat"), (io, "open")):
        refusing = _refusing(getattr(module, name), folder, seen=name == "stat")
        patch.setattr(module, name, refusing)


def _refusing(call: Callable[..., Any], folder: Path, *, seen: bool) -> Callable[..., Any]:
    def refusing(path: Any = ".", *rest: Any, **options: Any) -> Any:
        if isinstance(path, str | os.PathLike):
            place = Path(path)
            if folder in place.parents or (place == folder and not seen):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
        return call(path, *rest, **options)

    return refusing

"""PEFT, which is optional: whether it is there, without importing it, and the module itself."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ssah_exp.errors import ConfigError


def check_peft() -> None:
    """Fail at once, not only after the model is loaded; imports nothing.

    Raises:
        ConfigError: PEFT is not installed.
    """
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("This adapter needs PEFT: pip install 'ssah-exp[peft]'")


def peft_library() -> Any:
    """The ``peft`` module.

    Raises:
        ConfigError: It is not installed.
    """
    check_peft()
    return importlib.import_module("peft")

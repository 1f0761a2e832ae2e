"""Optional libraries: whether they are there, without importing them; PEFT where it is needed."""

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


def missing_optimizer(name: str) -> str | None:
    """Why an optimizer cannot be made here, None if it can; quick, without importing torch.

    Args:
        name: As in ``training.optimizer``.
    """
    if name == "adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None:
        return "training.optimizer=adamw_8bit needs bitsandbytes: pip install 'ssah-exp[eight-bit]'"
    return None


def peft_library() -> Any:
    """The ``peft`` module.

    Raises:
        ConfigError: It is not installed.
    """
    check_peft()
    return importlib.import_module("peft")

"""bitsandbytes, which is optional: whether it is there, without importing it or torch."""

from __future__ import annotations

import importlib.util


def missing_optimizer(name: str) -> str | None:
    """Why an optimizer cannot be made here, None if it can; quick, without importing torch.

    Args:
        name: As in ``training.optimizer``.
    """
    if name == "adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None:
        return "training.optimizer=adamw_8bit needs bitsandbytes: pip install 'ssah-exp[eight-bit]'"
    return None

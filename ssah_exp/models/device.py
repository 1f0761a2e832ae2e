"""Names of devices and precisions, and what they stand for here."""

from __future__ import annotations

import torch

from ssah_exp.errors import ModelError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def move(model: torch.nn.Module, device: torch.device) -> None:
    """Move a model in place; those that Lightning has run are left on the CPU."""
    torch.nn.Module.to(model, device)


def resolve_device(name: str, where: str = "model.device") -> torch.device:
    """The device of a name; ``auto`` is CUDA where there is one, else CPU.

    Args:
        name: As torch names it, or ``auto``.
        where: The setting that gave the name, for the message.

    Raises:
        ModelError: The device was asked for by name and is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"{where}={name} is not available here: {error}") from error
    return device


def check_device(name: str) -> None:
    """Refuse a ``model.device`` that :func:`resolve_device` would, taking no memory on it.

    Raises:
        ModelError: The device was asked for by name and is not there.
    """
    if name.partition(":")[0] != "cuda" or not torch.cuda.is_available():
        if name != "auto":
            resolve_device(name)
        return
    # Work on a card would keep some of its memory in a process that only waits for others.
    cards = torch.cuda.device_count()
    if name not in ("cuda", *(f"cuda:{number}" for number in range(cards))):
        raise ModelError(
            f"model.device={name} is not available here: this process sees {cards} GPU(s)."
        )

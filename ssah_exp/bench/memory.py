"""Memory of a training run: the most in use at once, and what stays in use between two steps."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ssah_exp.pipeline.garbage import collect_garbage

_PROC = Path("/proc/self")


class PeakMeter:
    """The most memory in use since :meth:`reset`, less what was in use when the meter was made.

    On CUDA it is what torch's allocator gave out. On Linux it is resident memory and its
    high-water mark, which the kernel resets on request. Other systems have ``ru_maxrss``, which
    cannot be reset, so that loading the model counts, too. (On Linux ``ru_maxrss`` would be wrong
    in a child process, where it begins at the size of the parent.)

    Args:
        device: Where the model trains.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.source = _source(device)
        self._base = self._in_use()

    def _in_use(self) -> int:
        if self.source == "max_memory_allocated":
            return torch.cuda.memory_allocated(self._device)
        return _proc_bytes("VmRSS") if self.source == "VmHWM" else _max_rss()

    def reset(self) -> None:
        """Forget the peak so far."""
        if self.source == "max_memory_allocated":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self.source == "VmHWM":
            (_PROC / "clear_refs").write_text("5", encoding="ascii")

    def peak(self) -> int:
        """The peak in bytes, less what was in use when the meter was made."""
        if self.source == "max_memory_allocated":
            most = torch.cuda.max_memory_allocated(self._device)
        else:
            most = _proc_bytes("VmHWM") if self.source == "VmHWM" else _max_rss()
        return most - self._base


def settle() -> None:
    """Return unused memory to the system, so that a meter begins with what is really in use.

    glibc keeps small pieces that were freed, and would hand them out again without the resident
    memory growing.
    """
    collect_garbage()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _source(device: torch.device) -> str:
    if device.type == "cuda":
        return "max_memory_allocated"
    try:
        (_PROC / "clear_refs").write_text("5", encoding="ascii")
        _proc_bytes("VmHWM")
    except (OSError, KeyError):
        return "ru_maxrss"
    return "VmHWM"


def _proc_bytes(field: str) -> int:
    lines = (_PROC / "status").read_text(encoding="ascii", errors="replace").splitlines()
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(values[field].split()[0]) * 1024


def _max_rss() -> int:
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@dataclass(frozen=True)
class StaticMemory:
    """Bytes that stay in use from one step to the next, by what they are for.

    Attributes:
        weights: Of the model, in its precision.
        masters: Float32 copies that the optimizer moves.
        gradients: Of the model's and the optimizer's parameters, when the optimizer steps.
        optimizer_states: Moments.
        others: Frozen parts that the masked way keeps to put back, and the model's buffers.
    """

    weights: int
    masters: int
    gradients: int
    optimizer_states: int
    others: int

    def as_dict(self) -> dict[str, int]:
        """All fields, and their sum as ``total``."""
        parts = asdict(self)
        return {**parts, "total": sum(parts.values())}


def size_of(tensors: Iterable[torch.Tensor | None]) -> int:
    """Bytes of all tensors, each object counted once; None counts nothing."""
    seen = {id(item): item for item in tensors if item is not None}
    return sum(item.numel() * item.element_size() for item in seen.values())


def states_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Every tensor in an optimizer's state."""
    states = [value for state in optimizer.state.values() for value in state.values()]
    return [value for value in states if isinstance(value, torch.Tensor)]

"""How many bytes of tensors are alive, and the most that ever were."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the storages that operations inside the block made and that are still in use.

    What an allocator gives out beyond that is not counted: rounding, and room that a kernel needs
    while it runs. Tensors may be fake ones (``FakeTensorMode``), which have sizes and no numbers.

    Args:
        chosen: Rows that a mask of bools chooses. Without numbers nobody can count them, so that
            choosing by a mask is done by size alone; None where tensors are real.

    Attributes:
        now: Bytes in use.
        peak: The most in use at once since the mode was made or :meth:`restart` was called.
    """

    def __init__(self, chosen: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._chosen = chosen
        self._sizes: dict[int, int] = {}
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do as told, and look at what came out."""
        if self._chosen is not None and _chooses_by_mask(func, args):
            values, mask = args[0], args[1][0]
            result = values.new_empty((self._chosen, *values.shape[mask.dim() :]))
        else:
            result = func(*args, **(kwargs or {}))
        for item in tree_leaves(result):
            if isinstance(item, torch.Tensor):
                self._see(item.untyped_storage())
        self.peak = max(self.peak, self.now)
        return result

    def restart(self) -> None:
        """Look again at what is in use, storages that changed their size included, for a new peak.

        Growing is noticed when an operation fills the storage, shrinking only here.
        """
        for held in list(self._storages.values()):
            if (storage := held()) is not None:
                self._see(storage)
        self.peak = self.now

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._sizes:
            self._storages[key] = weakref.ref(storage, lambda _: self._forget(key))
        self.now += size - self._sizes.get(key, 0)
        self._sizes[key] = size

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)
        del self._storages[key]


def _chooses_by_mask(func: Any, args: Sequence[Any]) -> bool:
    if func is not torch.ops.aten.index.Tensor:
        return False
    (first, *others) = args[1]
    return not others and first is not None and first.dtype is torch.bool

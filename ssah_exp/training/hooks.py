"""Forward hooks of a layer while another module stands in for it."""

from __future__ import annotations

from torch import nn

# Of an `nn.Module`: the hooks, and which of them want keyword arguments or are always called.
_FORWARD_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


def swap_forward_hooks(layer: nn.Module, other: nn.Module) -> None:
    """Give each of two modules the forward hooks of the other; their handles stay valid.

    Hooks belong to a layer, not to its place in the model: what is put there would be called
    without them, and an adapter that acts through hooks would be left out without a word.
    """
    for name in _FORWARD_HOOKS:
        mine, others = getattr(layer, name), getattr(other, name)
        setattr(layer, name, others)
        setattr(other, name, mine)

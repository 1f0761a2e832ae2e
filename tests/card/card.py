"""A GPU that is none: tensors on ``cuda:0`` whose numbers lie in main memory.

Every operation between a tensor here and one there is refused as a real card refuses it; all
others are computed by the CPU. So code that runs on a machine without a GPU shows whether it puts
every tensor where it is needed. It shows nothing of kernels, memory or speed.

``install`` changes torch for the whole process: :mod:`tests.card.on_card` is a process of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

HERE = torch.device("cuda", 0)
_ATEN = torch.ops.aten
# Operations whose tensors may be in two places.
_BETWEEN = (_ATEN._to_copy.default, _ATEN.copy_.default)
_INDEXED = (_ATEN.index, _ATEN.index_put, _ATEN.index_put_, _ATEN._index_put_impl_)
operations = 0  # of the card, since it was installed


class Card(torch.Tensor):
    """A tensor on the card; ``inner`` has its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor, requires_grad: bool = False) -> Card:
        if isinstance(inner, Card) or inner.is_meta:
            # accelerate makes a parameter anew by the class of the one that it takes the place of.
            return torch.nn.Parameter(inner, requires_grad)  # type: ignore[return-value]
        made: Card = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=HERE,
            requires_grad=requires_grad,
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _computed(function, args, kwargs or {})

    # What a tensor of torch does without an operation that could be dispatched:

    def __deepcopy__(self, memo: dict[int, Any]) -> Card:
        memo[id(self)] = copied = Card(self.inner.detach().clone(), self.requires_grad)
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.detach().cpu().__reduce_ex__(protocol)

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.inner.tolist()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def untyped_storage(self) -> Any:
        return self.inner.untyped_storage()

    def storage(self) -> Any:
        return self.inner.storage()


class _Everywhere(TorchDispatchMode):
    """Takes operations that have no tensor yet, such as ``zeros`` on the card."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _computed(function, args, kwargs or {})


def _computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute an operation with the numbers; what lands on the card is a :class:`Card`."""
    if _is_made_of_others(function):
        with _Everywhere():
            made = function.decompose(*args, **kwargs)
        if made is not NotImplemented:
            return made
    leaves = tree_leaves((args, kwargs))
    cards = [leaf for leaf in leaves if isinstance(leaf, Card)]
    onto = _lands_on_the_card(function, args, kwargs, bool(cards))
    _refuse_two_places(function, args, leaves, onto)
    changed = dict(kwargs)
    if onto and kwargs.get("device") is not None:
        changed["device"] = torch.device("cpu")
    numbers = function(*tree_map(_inner, args), **tree_map(_inner, changed))
    if not onto:
        return numbers
    global operations
    operations += 1
    wrapped = tree_map(_on_card, numbers)
    return return_and_correct_aliasing(function, args, kwargs, wrapped) if cards else wrapped


def _on_card(leaf: Any) -> Any:
    """A tensor's place on the card; what inference mode made is of no use to gradients there, too.

    In inference mode torch would not see that a view is one of a tensor that was made outside.
    """
    if not isinstance(leaf, torch.Tensor):
        return leaf
    with torch.inference_mode(leaf.is_inference()):
        return Card(leaf)


def _inner(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, Card) else leaf


def _is_made_of_others(function: Any) -> bool:
    """Whether it is no operation of a device's own. Without gradients such ones arrive whole."""
    return isinstance(function, torch._ops.OpOverload) and (
        torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd")
    )


def _lands_on_the_card(
    function: Any, args: Any, kwargs: dict[str, Any], reads_the_card: bool
) -> bool:
    if function is _ATEN._local_scalar_dense.default:  # item()
        return False
    if function is _ATEN.copy_.default:
        return isinstance(args[0], Card)
    if (device := kwargs.get("device")) is not None:
        return torch.device(device).type == "cuda"
    return reads_the_card


def _refuse_two_places(function: Any, args: Any, leaves: list[Any], onto: bool) -> None:
    """Raise what torch raises of tensors in two places; single numbers of the host may be read."""
    if onto and any(isinstance(leaf, torch.Generator) for leaf in leaves):
        raise RuntimeError(f"{function}: a generator of the CPU draws nothing on cuda:0")
    if function in _BETWEEN or not any(isinstance(leaf, Card) for leaf in leaves):
        return
    elsewhere = [leaf for leaf in leaves if type(leaf) is not Card and _is_many(leaf)]
    if getattr(function, "overloadpacket", None) in _INDEXED:  # indices may come from the host
        elsewhere = [leaf for leaf in (args[0], *args[2:3]) if type(leaf) is not Card]
        elsewhere = [leaf for leaf in elsewhere if leaf is args[0] or _is_many(leaf)]
    elif function._schema.is_mutable and not isinstance(args[0], (Card, list, tuple)):
        elsewhere.append(args[0])
    if elsewhere:
        raise RuntimeError(
            f"{function}: expected all tensors to be on the same device, but found at least two "
            f"devices, cuda:0 and cpu ({[tuple(tensor.shape) for tensor in elsewhere]})"
        )


def _is_many(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.dim() > 0


def install() -> None:
    """Make this process see the card; its runtime must have been loaded before torch was."""
    cuda: Any = torch.cuda
    answers: dict[str, Callable[..., Any]] = {
        "_lazy_init": lambda: None,
        "is_initialized": lambda: True,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "get_device_name": lambda *_: "a card that is none",
        "get_device_capability": lambda *_: (9, 0),
        "get_device_properties": lambda *_: SimpleNamespace(total_memory=80 * 10**9),
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "memory_allocated": lambda *_: 1,
        "max_memory_allocated": lambda *_: 2,
        "reset_peak_memory_stats": lambda *_: None,
        "is_bf16_supported": lambda *_, **__: True,
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda state, *_: torch.set_rng_state(state),
    }
    for name, answer in answers.items():
        setattr(cuda, name, answer)
    torch._C._set_only_lift_cpu_tensors(True)  # tensor([...], device=...) by way of operations
    # A parameter that moves stays the same object, so that tied ones stay tied.
    torch.__future__.set_swap_module_params_on_conversion(True)
    plain = threading.Thread.run
    threading.Thread.run = lambda thread: _within(plain, thread)  # type: ignore[method-assign]
    _Everywhere().__enter__()


def _within(plain: Callable[[threading.Thread], None], thread: threading.Thread) -> None:
    """Modes are of a thread."""
    with _Everywhere():
        plain(thread)

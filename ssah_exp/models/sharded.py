"""Weights split over ranks by FSDP2 (``torch.distributed.fsdp.fully_shard``).

Blocks are gathered one at a time, when they compute. Everything else (embeddings, final norm, LM
head) belongs to the model as a whole and is gathered when the *model* is called; code that calls
parts of a model goes through :func:`through_model`, which runs it inside such a call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from ssah_exp import ranks
from ssah_exp.errors import ConfigError
from ssah_exp.models.anatomy import blocks

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

Result = TypeVar("Result")
_MARK = "_ssah_sharded"


def is_sharded(model: nn.Module) -> bool:
    """Whether :func:`shard` has split this model."""
    return hasattr(model, _MARK)


def shard(
    model: nn.Module,
    mesh: DeviceMesh,
    kept_whole: set[nn.Parameter] | None = None,
    precision: torch.dtype | None = None,
    before: Callable[[nn.Module], None] = lambda part: None,
) -> None:
    """Split a model's parameters over the ranks of ``mesh``, in place.

    Args:
        model: A causal language model, the same on every rank; its weights in main memory.
        mesh: One-dimensional.
        kept_whole: Parameters that every rank keeps; the caller must exchange their gradients.
        precision: Dtype to compute in; None = the model's, which is that of its first weight.
        before: Called with each block, and last with the model, right before its weights are split:
            what it makes of them need not be there for all blocks at once.

    Raises:
        ConfigError: Something is to be kept whole, and torch is older than 2.7.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    # Trained weights are held in float32 and computed with in the model's precision.
    policy = MixedPrecisionPolicy(
        param_dtype=precision or model.dtype,  # type: ignore[arg-type]
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    arguments: dict[str, Any] = {"mesh": mesh, "mp_policy": policy}
    if kept_whole:
        _refuse_old_torch(fully_shard)
        arguments["ignored_params"] = kept_whole
    for block in blocks(model):
        before(block)
        fully_shard(block, **arguments)
    before(model)
    fully_shard(model, **arguments)
    for parameter in kept_whole or ():
        parameter.data = parameter.data.to(mesh.device_type)
    setattr(model, _MARK, True)
    plain = model.forward

    @functools.wraps(plain)
    def forward(*given: Any, part: Callable[[], Any] | None = None, **named: Any) -> Any:
        return plain(*given, **named) if part is None else part()

    model.forward = forward


def _refuse_old_torch(fully_shard: Callable[..., Any]) -> None:
    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise ConfigError(
            "trainer.strategy=fsdp2 keeps an adapter's own weights whole, which torch can from 2.7 "
            f"on; this is {torch.__version__}."
        )


def without_gradients(model: nn.Module) -> torch.inference_mode | torch.no_grad:
    """Inference mode, or, for sharded models, ``no_grad``.

    FSDP keeps the memory it gathers weights into, and tensors made in inference mode cannot be
    written outside of it.
    """
    return torch.no_grad() if is_sharded(model) else torch.inference_mode()


def mesh_of_ranks(cuda: bool) -> DeviceMesh:
    """The one-dimensional mesh of all ranks."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh("cuda" if cuda else "cpu", (ranks.count(),))


def through_model(model: nn.Module, part: Callable[[], Result]) -> Result:
    """Run a computation on parts of a model inside a call of the model, if it is sharded."""
    if not is_sharded(model):
        return part()
    result: Result = model(part=part)
    return result

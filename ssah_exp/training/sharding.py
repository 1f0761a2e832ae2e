"""Training with weights, gradients and optimizer states split over ranks (FSDP2).

The model that was handed over stays whole in main memory and keeps its modules. A *twin* of it,
with modules of its own over the same numbers, gets the policy's stand-ins, is split over the ranks
and trained; what it learned is gathered into the model in the end.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.utils._pytree import tree_map

from ssah_exp.models.placement import whole
from ssah_exp.models.sharded import shard
from ssah_exp.training.shards import average_over_ranks, kept_by_first, split_like

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from transformers import PreTrainedModel

    from ssah_exp.training.tuned import Trainable


class ShardedTwin:
    """A twin of ``model`` to be trained in shards.

    Args:
        model: Whole, in main memory, and the same on every rank.

    Attributes:
        model: The twin. Its parameters share the model's memory until they are split.
        precision: What it computes in, whatever its trained shards are kept in.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        twins = {
            id(item): nn.Parameter(item.detach(), requires_grad=item.requires_grad)
            for item in model.parameters()
        }
        self._origin = {id(twins[id(item)]): item for item in model.parameters()}
        self.model: PreTrainedModel = copy.deepcopy(model, dict(twins))
        self.precision = model.dtype
        self._homes: list[tuple[nn.Module, str, nn.Parameter]] = []
        self._kept_whole: list[nn.Parameter] = []

    def shard(self, mesh: DeviceMesh, tuned: Trainable) -> None:
        """Split the twin, together with what the policy put into it.

        Weights that are trained as a whole become float32: their shards are their masters. An
        adapter's own parameters are few; every rank keeps all of them.
        """
        for module in self.model.modules():
            for leaf, item in module._parameters.items():
                if item is not None and id(item) in self._origin:
                    self._homes.append((module, leaf, self._origin[id(item)]))
        self._kept_whole = tuned.kept_whole()
        # Block by block: a whole model in float32, on every rank, is twice what bfloat16 takes.
        kept_whole = set(self._kept_whole)
        shard(self.model, mesh, kept_whole, self.precision, before=_widen_trained)

    def average_gradients(self) -> None:
        """Average what every rank keeps whole over the ranks; FSDP does it for the rest."""
        gradients = [item.grad for item in self._kept_whole if item.grad is not None]
        if not gradients:
            return
        flat = torch.cat([item.flatten() for item in gradients])  # many are small: one exchange
        average_over_ranks([flat])
        parts = torch.split(flat, [item.numel() for item in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def reshard(self) -> None:
        """Let the parameters be the shards again.

        A forward pass leaves what belongs to the model as a whole gathered, in the precision that
        it computes in.
        """
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    @torch.no_grad()
    def gather(self) -> None:
        """Put what the shards hold into the model, and the model's parameters into the twin.

        Frozen shards are gathered, too: the certificate is about what they hold. Adapters that are
        merged after this are merged into the model.
        """
        self.reshard()
        seen: set[int] = set()
        for module, leaf, original in self._homes:
            item = module._parameters[leaf]
            assert item is not None
            if id(original) not in seen:
                original.copy_(whole(item.detach()))
                seen.add(id(original))
            module._parameters[leaf] = original
        for item in self._kept_whole:
            item.data = item.data.cpu()


def _widen_trained(part: nn.Module) -> None:
    wide: dict[int, nn.Parameter] = {}
    for module in part.modules():
        for leaf, item in module._parameters.items():
            if item is not None and item.requires_grad and item.dtype != torch.float32:
                if id(item) not in wide:
                    wide[id(item)] = nn.Parameter(item.detach().float())
                module._parameters[leaf] = wide[id(item)]


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's FSDP2 over one row of all ranks, with each checkpoint whole in one file.

    The module decides what is in a checkpoint (:class:`~ssah_exp.training.module.FineTuning`).
    """

    def __init__(self, processes: int) -> None:
        super().__init__(data_parallel_size=processes, tensor_parallel_size=1)

    @property
    def lightning_restore_optimizer(self) -> bool:
        """True: Lightning calls :meth:`load_optimizer_state_dict`."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Empty: nothing frozen is kept, and the module adds what is trained."""
        return {}

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """The whole state, put together tensor by tensor for rank 0, which writes."""
        gathered: dict[str, Any] = tree_map(_to_host, optimizer.state_dict())
        return gathered

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None
    ) -> None:
        """Rank 0 writes."""
        if self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, filepath)

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Every rank takes what it needs of the file, which none reads into its memory whole."""
        path = Path(checkpoint_path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        return content

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Split each state the way its parameter is split."""
        states = checkpoint["optimizer_states"]
        for optimizer, state in zip(self.optimizers, states, strict=True):
            parameters = [item for group in optimizer.param_groups for item in group["params"]]
            split = {
                number: {
                    name: split_like(value, parameters[number])
                    if isinstance(value, torch.Tensor) and value.dim()
                    else value
                    for name, value in values.items()
                }
                for number, values in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": split})


def _to_host(value: Any) -> Any:
    return kept_by_first(value) if isinstance(value, torch.Tensor) else value

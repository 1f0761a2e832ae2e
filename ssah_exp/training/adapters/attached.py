"""Training an adapter that stays beside the weights."""

from __future__ import annotations

import torch
from torch import nn

from ssah_exp.models.attached.base import Attached
from ssah_exp.training.adapters.adapter import InstalledAdapter, requires_grad_of


class InstalledAttached(InstalledAdapter):
    """Trains an attached adapter; it stays in the model if training ends well.

    Args:
        model: The model that carries it.
        attached: The adapter.
    """

    def __init__(self, model: nn.Module, attached: Attached) -> None:
        super().__init__(model, attached.parameters, requires_grad_of(model))
        self._attached = attached
        self._finished = False
        self._before = {
            name: item.detach().cpu().clone() for name, item in self._parameters.items()
        }

    def optimizer_parameters(self) -> list[nn.Parameter]:
        """Parameters for the optimizer, float32, where the model is."""
        self._attached.place()
        return super().optimizer_parameters()

    def attached_values(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """The adapter before training and now, on the host."""
        return {
            name: (self._before[name], item.detach().cpu())
            for name, item in self._parameters.items()
        }

    def finish(self) -> None:
        """Close, but leave the adapter in the model."""
        self._finished = True
        self.close()

    def remove(self) -> None:
        """Take the adapter off, unless training ended well."""
        if not self._finished:
            self._attached.detach()

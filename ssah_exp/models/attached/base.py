"""What every attached adapter has: parameters of its own, PEFT's description of it, its hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ssah_exp.errors import ModelError


class Attached:
    """An adapter beside a model's weights.

    It acts through hooks. Modules, parameter names and weights of the model stay what they were, so
    that code which reads or hooks them (anatomy, certificates, ablation) need not know of it.

    Args:
        model: A causal language model; it may have one adapter at a time.
        tensors: The adapter's values by PEFT's names; copied into float32 parameters.
        near: For each name, the weight of the model whose device the parameter follows.
        config: PEFT's ``adapter_config.json`` for it.

    Attributes:
        parameters: The adapter's parameters by PEFT's names, float32.

    Raises:
        ModelError: The model has an adapter already.
    """

    def __init__(
        self,
        model: nn.Module,
        tensors: Mapping[str, torch.Tensor],
        near: Mapping[str, torch.Tensor],
        config: Mapping[str, Any],
    ) -> None:
        if attached_to(model) is not None:
            raise ModelError("The model has an adapter already; it can carry one at a time.")
        self.config = dict(config)
        self.parameters = {
            name: nn.Parameter(tensor.detach().to(near[name].device, torch.float32, copy=True))
            for name, tensor in tensors.items()
        }
        self._model = model
        self._near = dict(near)
        self._hooks: list[RemovableHandle] = []
        # A plain attribute: as a submodule it would be among the model's parameters.
        model._attached_adapter = self  # type: ignore[assignment]

    def place(self) -> None:
        """Move the parameters to where the model is: code that moves a model leaves them behind."""
        # Passes may be in inference mode, whose tensors could not be trained afterwards.
        with torch.inference_mode(False):
            for name, parameter in self.parameters.items():
                if parameter.device != self._near[name].device:
                    parameter.data = parameter.data.to(self._near[name].device)

    def detach(self) -> None:
        """Take the adapter off again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if attached_to(self._model) is self:
            del self._model._attached_adapter


def attached_to(model: nn.Module) -> Attached | None:
    """The adapter that a model carries, if any."""
    found = getattr(model, "_attached_adapter", None)
    assert found is None or isinstance(found, Attached)
    return found


def check_values(
    tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse values of another adapter or another model.

    Raises:
        ModelError: Names or shapes differ.
    """
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted({*found, *shapes}):
        if found.get(name) != shapes.get(name):
            raise ModelError(
                f"The adapter does not fit the model: {name} should be "
                f"{shapes.get(name, 'absent')} and is {found.get(name, 'absent')}."
            )

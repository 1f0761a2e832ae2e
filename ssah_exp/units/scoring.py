"""Other ways to score units than the paper's: ``units.scoring``, one calibration set at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssah_exp.data.chat import Encoded
from ssah_exp.errors import ModelError, UnitError
from ssah_exp.models.anatomy import UnitTensor, unit_tensors
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import token_losses
from ssah_exp.models.sizes import KINDS, Kind
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.scores import standardise


@dataclass(frozen=True)
class ScoringSettings:
    """What of ``units`` a scoring is told: nothing else is in the key of what it gives.

    Attributes:
        tokens: ``response`` or ``all``: which positions count.
        batch_size: Examples of a forward pass; may decide time and memory, not the result, and is
            in no key.
    """

    tokens: str = "response"
    batch_size: int = 8


@runtime_checkable
class Scoring(Protocol):
    """Says how important every unit is to a set of conversations."""

    def importance(
        self, loaded: LoadedModel, examples: Sequence[Encoded], units: ScoringSettings
    ) -> NDArray[np.float64]:
        """``(units,)`` finite floats in the order of :class:`~ssah_exp.units.index.UnitIndex`.

        A higher number is a more important unit. Units are compared within their block and kind
        only: z-scores are taken of what comes back.

        Args:
            loaded: The model; the call must leave it as it was.
            examples: A calibration set.
            units: Which tokens count, and how many examples to take at a time.
        """


def checked_importance(importance: object, index: UnitIndex) -> NDArray[np.float64]:
    """What a scoring gave, ``(units,)`` float64.

    Raises:
        UnitError: Not one finite number per unit.
    """
    wanted = (index.anatomy.units,)
    if not isinstance(importance, np.ndarray):
        raise UnitError(f"units.scoring gave {type(importance).__name__}, not an array of numpy's.")
    if importance.shape != wanted or importance.dtype.kind != "f":
        raise UnitError(
            f"units.scoring gave {importance.dtype} {importance.shape}, not floats of {wanted}."
        )
    if not np.isfinite(importance).all():
        layer = int(index.layer[~np.isfinite(importance)][0])
        raise UnitError(f"units.scoring gave NaN or infinite numbers, first in layer {layer}.")
    return importance.astype(np.float64)


def scores_of(importance: NDArray[np.float64], index: UnitIndex) -> NDArray[np.float64]:
    """z-scores within each block and kind, as the paper's scores have them.

    Args:
        importance: ``(units,)`` float64, from :func:`checked_importance`.
        index: The unit order.

    Returns:
        ``(units,)`` float64.
    """
    heads, neurons = (
        standardise(torch.from_numpy(part)).numpy() for part in index.split(importance)
    )
    return index.flatten(heads, neurons)


@dataclass(frozen=True)
class Snip:
    """Connection sensitivity: a unit's sum of ``|w * dL/dw|`` over its weights, mean over examples.

    SNIP (Lee et al. 2019, arXiv 1810.02340) with the loss of one example at a time, as Wei et al.
    2024 (arXiv 2402.05162) take it for safety: ``L`` is the mean loss of the counted tokens. They
    rank single weights; here those of a unit are summed. Query heads that share a key-value head
    get equal parts of its sum.
    """

    def importance(
        self, loaded: LoadedModel, examples: Sequence[Encoded], units: ScoringSettings
    ) -> NDArray[np.float64]:
        """One forward and one backward pass per example, whatever ``units.batch_size``.

        Raises:
            ModelError: Weights are offloaded: there are no gradients of them.
            UnitError: No example has a counted token.
        """
        tensors = [item for item in unit_tensors(loaded.model) if item.name.endswith(".weight")]
        weights = dict(loaded.model.named_parameters())
        index = UnitIndex(loaded.anatomy)
        sizes = {"attention": loaded.anatomy.heads, "mlp": loaded.anatomy.neurons}
        table = {kind: torch.zeros(loaded.anatomy.layers, sizes[kind]).double() for kind in KINDS}
        counted = 0
        with _differentiable([weights[item.name] for item in tensors]) as wanted:
            for example in examples:
                loss = _loss(loaded, example, units.tokens)
                if loss is None:
                    continue
                counted += 1
                _add_example(table, tensors, wanted, loss, sizes)
        if not counted:
            raise UnitError(f"No example has a token that units.tokens={units.tokens} counts.")
        heads, neurons = (table[kind].numpy() / counted for kind in KINDS)
        return index.flatten(heads, neurons)


def _loss(loaded: LoadedModel, example: Encoded, tokens: str) -> torch.Tensor | None:
    """Mean negative log-likelihood of the counted tokens; None where there are none."""
    first = max(1, example.response_start if tokens == "response" else 1)
    ids = torch.tensor([example.input_ids], device=loaded.device)
    if ids.shape[1] <= first:
        return None
    counted = torch.zeros_like(ids, dtype=torch.bool)
    counted[:, first:] = True
    return token_losses(loaded.model, ids, torch.ones_like(ids), counted).mean()


def _add_example(
    table: dict[Kind, torch.Tensor],
    tensors: Sequence[UnitTensor],
    weights: Sequence[nn.Parameter],
    loss: torch.Tensor,
    sizes: Mapping[str, int],
) -> None:
    """Add what one example says of every tensor.

    Its gradients, which take as much memory as the weights, are gone when the next one's are made.
    """
    gradients = torch.autograd.grad(loss, weights)
    for item, weight, gradient in zip(tensors, weights, gradients, strict=True):
        _add(table, item, weight, gradient, sizes[item.kind])


def _add(
    table: dict[Kind, torch.Tensor],
    item: UnitTensor,
    weight: torch.Tensor,
    gradient: torch.Tensor,
    units: int,
) -> None:
    """Add a tensor's ``|w * dL/dw|`` to the units that own its rows or columns."""
    sensitivity = (weight.detach().float() * gradient.float()).abs().sum(dim=1 - item.dim)
    table[item.kind][item.layer] += item.summed(sensitivity.double().cpu(), units)


@contextmanager
def _differentiable(weights: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Let gradients be taken with respect to ``weights`` for as long as the block lasts.

    Raises:
        ModelError: A weight is offloaded (on the meta device).
    """
    if any(weight.is_meta for weight in weights):
        raise ModelError("Snip needs gradients, and this model is offloaded (model.device_map).")
    before = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        with torch.enable_grad():
            yield weights
    finally:
        for weight, wanted in zip(weights, before, strict=True):
            weight.requires_grad_(wanted)

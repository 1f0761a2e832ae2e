"""Which part of a model a training run may change: sets of units turned into tensor slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssah_exp.config.schema import OthersConfig
from ssah_exp.config.vocabulary import POLICIES
from ssah_exp.errors import UnitError
from ssah_exp.models.anatomy import read_anatomy, unit_tensors
from ssah_exp.units.index import UnitIndex


@dataclass(frozen=True)
class Slice:
    """The part of one parameter that may change.

    Attributes:
        name: As in ``model.named_parameters()``.
        dim: 0 = rows (or entries of a vector), 1 = columns.
        index: ``(k,)`` int64, ascending positions along ``dim`` that may change.
        size: Length of the parameter along ``dim``.
    """

    name: str
    dim: int
    index: torch.Tensor
    size: int

    @cached_property
    def rest(self) -> torch.Tensor:
        """``(size - k,)`` int64: positions that may not change."""
        keep = torch.ones(self.size, dtype=torch.bool)
        keep[self.index] = False
        return keep.nonzero().squeeze(1)

    def take(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of the changeable part."""
        return tensor.index_select(self.dim, self.index.to(tensor.device))

    def take_rest(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of the part that may not change."""
        return tensor.index_select(self.dim, self.rest.to(tensor.device))

    def put(self, tensor: torch.Tensor, part: torch.Tensor) -> None:
        """Write the changeable part in place, in the tensor's dtype."""
        index = self.index.to(tensor.device)
        tensor.index_copy_(self.dim, index, part.to(tensor.device, tensor.dtype))


@dataclass(frozen=True)
class TrainingPlan:
    """What may change: slices of some parameters, some parameters whole, the others not at all.

    Attributes:
        slices: Parameters that change in part.
        whole: Names of parameters that may change everywhere.
        frozen: Names of parameters that may not change.
    """

    slices: tuple[Slice, ...]
    whole: tuple[str, ...]
    frozen: tuple[str, ...]

    @classmethod
    def of(
        cls, model: nn.Module, slices: Sequence[Slice] = (), whole: Sequence[str] = ()
    ) -> TrainingPlan:
        """A plan under which every other parameter of ``model`` is frozen."""
        touched = {*whole, *(item.name for item in slices)}
        frozen = (name for name, _ in model.named_parameters() if name not in touched)
        return cls(tuple(slices), tuple(whole), tuple(frozen))

    @property
    def by_name(self) -> dict[str, Slice]:
        """Slices by parameter name."""
        return {item.name: item for item in self.slices}

    def changeable(self, model: nn.Module) -> int:
        """How many weights of ``model`` may change."""
        parameters = dict(model.named_parameters())
        parts = (
            parameters[item.name].numel() // item.size * item.index.numel() for item in self.slices
        )
        return sum(parts) + sum(parameters[name].numel() for name in self.whole)

    def changes_kept_by(self, other: TrainingPlan) -> list[str]:
        """Names of parameters of which this plan may change what ``other`` keeps frozen."""
        mine, others = self.by_name, other.by_name
        within = [
            name
            for name, item in mine.items()
            if name in others and bool(torch.isin(item.index, others[name].index).all())
        ]
        allowed = {*other.whole, *within}
        return [name for name in (*self.whole, *mine) if name not in allowed]


def plan_training(
    model: nn.Module,
    policy: str,
    selected: NDArray[np.bool_] | None,
    others: OthersConfig | None = None,
) -> TrainingPlan:
    """Turn a policy and a set of units into slices.

    Args:
        model: Its family must be known to :mod:`ssah_exp.models.anatomy`.
        policy: ``none`` trains everything, ``freeze`` everything but the selected units,
            ``budget`` the selected units only. A key-value head that several query heads share is
            trained only if all of them are.
        selected: ``(units,)`` bool in the order of :class:`UnitIndex`; None under ``none``.
        others: Embeddings, norms and the LM head; None = the policy's default for each.

    Raises:
        UnitError: Unknown policy; a set where none is used, or none where one is; a set that is
            empty or of another model's length; nothing left to train; tied embeddings and LM head
            with different settings.
    """
    trained = _trained_units(model, policy, selected)
    heads, neurons = UnitIndex(read_anatomy(model)).split(trained)
    slices: list[Slice] = []
    whole: list[str] = []
    owned: set[str] = set()
    for tensor in unit_tensors(model):
        of_block = (heads if tensor.kind == "attention" else neurons)[tensor.layer]
        covered = tensor.covered(of_block)
        owned.add(tensor.name)
        if covered.all():
            whole.append(tensor.name)
        elif covered.any():
            index = torch.from_numpy(np.flatnonzero(covered))
            slices.append(Slice(tensor.name, tensor.dim, index, covered.size))
    choice = _trained_others(_tied(model, others or OthersConfig()), policy)
    _check_tied(model, choice)
    for name, which in _unowned(model, owned):
        if choice[which]:
            whole.append(name)
    if not slices and not whole:
        raise UnitError(
            f"Policy '{policy}' leaves nothing to train: no weight belongs to selected units "
            "alone, and embeddings, norms and LM head are frozen."
        )
    return TrainingPlan.of(model, slices, whole)


def _trained_units(
    model: nn.Module, policy: str, selected: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    units = read_anatomy(model).units
    if policy not in POLICIES:
        raise UnitError(f"Unknown policy '{policy}'. Allowed: {', '.join(POLICIES)}.")
    if policy == "none":
        if selected is not None:
            raise UnitError("Policy 'none' trains everything; it takes no set of units.")
        return np.ones(units, dtype=bool)
    if selected is None:
        raise UnitError(f"Policy '{policy}' needs a set of units.")
    if selected.shape != (units,):
        raise UnitError(f"{selected.shape[0]} units given for a model of {units}.")
    if not selected.any():
        raise UnitError(f"Policy '{policy}' was given an empty set of units.")
    return selected if policy == "budget" else ~selected


def _trained_others(others: OthersConfig, policy: str) -> dict[str, bool]:
    """Each option with the policy's default in place of None.

    By default ``none`` and ``freeze`` train all of these, and ``budget`` none.
    """
    default = policy != "budget"
    return {name: default if value is None else value for name, value in asdict(others).items()}


def _unowned(model: nn.Module, owned: set[str]) -> Iterator[tuple[str, str]]:
    """Parameters that no unit owns, each with the option that decides about it."""
    embeddings = _name_of(model, model.get_input_embeddings())  # type: ignore[operator]
    head = _name_of(model, model.get_output_embeddings())  # type: ignore[operator]
    for name, _ in model.named_parameters():
        if name in owned:
            continue
        if name == embeddings:
            yield name, "embeddings"
        elif name == head:
            yield name, "lm_head"
        else:
            yield name, "norms"


def _name_of(model: nn.Module, module: Any) -> str | None:
    weight = getattr(module, "weight", None)
    return next((name for name, item in model.named_parameters() if item is weight), None)


def _tied(model: nn.Module, others: OthersConfig) -> OthersConfig:
    """Of one matrix under two names, what is said of one holds for the other."""
    if not _ties(model):
        return others
    if others.embeddings is None:
        return replace(others, embeddings=others.lm_head)
    return others if others.lm_head is not None else replace(others, lm_head=others.embeddings)


def _ties(model: nn.Module) -> bool:
    embeddings = model.get_input_embeddings().weight  # type: ignore[operator]
    head = model.get_output_embeddings().weight  # type: ignore[operator]
    return embeddings is head


def _check_tied(model: nn.Module, choice: dict[str, bool]) -> None:
    if not _ties(model) or choice["embeddings"] == choice["lm_head"]:
        return
    raise UnitError(
        f"others.embeddings={choice['embeddings']} and others.lm_head={choice['lm_head']}, but "
        "this model ties the two: they are one matrix. Give both the same value."
    )

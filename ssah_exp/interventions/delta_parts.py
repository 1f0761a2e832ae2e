"""What changed in one tensor, as bit patterns, and how it is found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from ssah_exp.digest import digest_of
from ssah_exp.errors import UnitError
from ssah_exp.interventions.plan import Slice, TrainingPlan

Weights = Mapping[str, torch.Tensor]

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as integers of the same width, so that NaN payloads and -0 are kept, too.

    Raises:
        UnitError: No integer has that width.
    """
    if tensor.element_size() not in _INTEGERS:
        raise UnitError(f"Weights of type {tensor.dtype} cannot be part of a delta.")
    return tensor.detach().view(_INTEGERS[tensor.element_size()])


def digest(tensor: torch.Tensor) -> str:
    """sha256 over the bytes of a tensor in row-major order."""
    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(flat.numpy().data).hexdigest()


def dtype_name(tensor: torch.Tensor) -> str:
    """``float32``, ``bfloat16``, ..."""
    return str(tensor.dtype).removeprefix("torch.")


@dataclass(frozen=True, eq=False)
class Part:
    """What changed in one tensor.

    Attributes:
        name: Its name in the weights.
        copies: Names of tensors that are tied to it. Weights may list all of them or not; at least
            one of name and copies must be there.
        shape: Shape of the whole tensor.
        dtype: Its dtype, as in :func:`dtype_name`.
        place: Rows (``dim`` 0) or columns (``dim`` 1) that the part covers: those the plan lets
            change, without a plan those that changed; None = the whole tensor.
        xor: Old bits XOR new bits of that place: ``shape`` with ``k`` positions along ``dim``,
            integers as wide as ``dtype``.
        before: sha256 of the place in the old weights.
        after: sha256 of the place in the new weights.
    """

    name: str
    copies: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    place: Slice | None
    xor: torch.Tensor
    before: str
    after: str

    @property
    def names(self) -> tuple[str, ...]:
        """Name and copies."""
        return (self.name, *self.copies)

    def fits(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor has this shape and dtype."""
        return tuple(tensor.shape) == self.shape and dtype_name(tensor) == self.dtype

    def take(self, tensor: torch.Tensor) -> torch.Tensor:
        """The bits of the place, shaped like ``xor``."""
        whole = bits(tensor)
        return whole if self.place is None else self.place.take(whole)

    def switched(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of the tensor with old bits made new, or new ones old."""
        fresh = tensor.detach().clone(memory_format=torch.contiguous_format)
        part = self.take(fresh) ^ self.xor.to(fresh.device)
        if self.place is None:
            bits(fresh).copy_(part)
        else:
            self.place.put(bits(fresh), part)
        return fresh


def with_copies(weights: Weights, other: Weights) -> dict[str, torch.Tensor]:
    """``weights``, and the tied tensors that only ``other`` lists.

    Raises:
        UnitError: ``other`` has a tensor that is missing here and tied to none that is here.
    """
    full = dict(weights)
    for name in sorted(other.keys() - weights.keys()):
        twins = (one for one in weights if one in other and _same(other[one], other[name]))
        twin = next(twins, None)
        if twin is None:
            raise UnitError(f"The two models differ in their tensors: only one has {name}.")
        full[name] = weights[twin]
    return full


def group_copies(base: Weights, tuned: Weights, planned: Iterable[str]) -> dict[str, list[str]]:
    """Name of every tensor that is no copy -> names of its copies: equal bits in both models.

    A planned name never counts as a copy: the plan decides about it by name.
    """
    own = frozenset(planned)
    groups: dict[str, list[str]] = {}
    for name in sorted(base, key=lambda name: (name not in own, name)):
        # Only matrices are tied; short vectors may well be equal by chance.
        tied = (
            one
            for one in (groups if name not in own and base[name].dim() == 2 else ())
            if _same(base[one], base[name]) and _same(tuned[one], tuned[name])
        )
        first = next(tied, None)
        if first is None:
            groups[name] = []
        else:
            groups[first].append(name)
    return groups


def find_part(
    name: str,
    copies: Iterable[str],
    old: torch.Tensor,
    new: torch.Tensor,
    plan: TrainingPlan | None,
) -> Part | None:
    """What changed from ``old`` to ``new``; None = nothing.

    Raises:
        UnitError: Something changed that the plan does not let change.
    """
    changed = bits(old).cpu() ^ bits(new).cpu()
    if not bool(changed.any()):
        return None
    place = _narrowest(name, changed) if plan is None else _planned(name, changed, plan)
    part = Part(name, tuple(copies), tuple(old.shape), dtype_name(old), place, changed, "", "")
    return replace(
        part,
        xor=changed if place is None else place.take(changed),
        before=digest(part.take(old)),
        after=digest(part.take(new)),
    )


def untouched(weights: Weights, parts: Iterable[Part]) -> dict[str, str]:
    """Name -> sha256 over dtype, shape and all bits that the parts leave as they are.

    Tensors that a part covers as a whole have no entry.
    """
    by_name = {name: part for part in parts for name in part.names}
    found: dict[str, str] = {}
    for name, tensor in weights.items():
        place = by_name[name].place if name in by_name else None
        if place is not None:
            found[name] = _identity(place.take_rest(bits(tensor)), tensor)
        elif name not in by_name:
            found[name] = _identity(tensor, tensor)
    return found


def differing(weights: Weights, parts: Iterable[Part], wanted: Mapping[str, str]) -> list[str]:
    """Names of tensors whose untouched bits are not those of ``wanted`` (:func:`untouched`).

    Weights may list either of two tied matrices: one that is missing, or that ``wanted`` does not
    name, counts as right where another matrix is the same to the last bit.
    """
    found, known = untouched(weights, parts), frozenset(wanted.values())
    matrices = {name: one for name, one in found.items() if weights[name].dim() == 2}
    twins = {name for name, one in matrices.items() if name not in wanted and one in known}
    wrong = {name for name, one in found.items() if one != wanted.get(name)} - twins
    here = frozenset(matrices.values())
    missing = {name for name, one in wanted.items() if name not in found and one not in here}
    return sorted(wrong | missing)


def _identity(tensor: torch.Tensor, of: torch.Tensor) -> str:
    return digest_of([dtype_name(of), list(of.shape), digest(tensor)])


def changed_positions(changed: torch.Tensor, dim: int) -> torch.Tensor:
    """``(size along dim,)`` bool: rows or columns with any bit set."""
    return changed.movedim(dim, 0).reshape(changed.shape[dim], -1).ne(0).any(dim=1)


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(bits(first).cpu(), bits(second).cpu())


def _narrowest(name: str, changed: torch.Tensor) -> Slice | None:
    """The changed rows or the changed columns, whichever are fewer values; None = all of it."""
    best: Slice | None = None
    share = 1.0
    for dim in range(min(changed.dim(), 2)):
        index = changed_positions(changed, dim).nonzero().squeeze(1)
        if index.numel() / changed.shape[dim] < share:
            share = index.numel() / changed.shape[dim]
            best = Slice(name, dim, index, changed.shape[dim])
    return best


def _planned(name: str, changed: torch.Tensor, plan: TrainingPlan) -> Slice | None:
    if name in plan.whole:
        return None
    place = plan.by_name.get(name)
    if place is None:
        raise UnitError(f"{name} changed, and the plan does not let it change.")
    if place.dim >= changed.dim() or changed.shape[place.dim] != place.size:
        raise UnitError(f"The plan is of another model: {name} has shape {list(changed.shape)}.")
    if bool(changed.index_fill(place.dim, place.index, 0).any()):
        what = "columns" if place.dim else "rows"
        raise UnitError(f"{name} changed outside the {what} that the plan lets change.")
    return place

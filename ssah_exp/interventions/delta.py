"""The unit delta: only what a training run changed in a model, applied and reverted exactly.

It holds old bits XOR new bits. XOR undoes itself, so one copy serves both directions, and no
rounding can come in between.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ssah_exp.errors import UnitError
from ssah_exp.interventions.delta_file import Base, Delta
from ssah_exp.interventions.delta_parts import (
    Part,
    Weights,
    differing,
    digest,
    dtype_name,
    find_part,
    group_copies,
    untouched,
    with_copies,
)
from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.models.attached.folder import ADAPTER, has_adapter
from ssah_exp.models.sources import ModelRef
from ssah_exp.models.weights import check_new_folder, read_weights, rewrite_folder

__all__ = [
    "Delta",
    "apply_delta",
    "apply_to_folder",
    "make_delta",
    "refuse_adapter",
    "revert_delta",
    "revert_in_folder",
]


def make_delta(base: Weights, tuned: Weights, plan: TrainingPlan | None, origin: ModelRef) -> Delta:
    """Find what changed.

    Args:
        base: Tensors by name before training, as in a ``state_dict`` or in a model's files.
        tuned: The same after it, in the same dtypes.
        plan: What was allowed to change: its slices are taken as they are, so the delta is also
            a proof that nothing else moved. None: the changed rows or columns of each tensor.
        origin: Identity of the base.

    Raises:
        UnitError: Something outside the plan changed; names, shapes or dtypes differ; nothing
            changed; the plan is of another model; or a dtype has no integer of its width.
    """
    base, tuned = with_copies(base, tuned), with_copies(tuned, base)
    for name, tensor in base.items():
        if (tensor.shape, tensor.dtype) != (tuned[name].shape, tuned[name].dtype):
            raise UnitError(
                f"{name} is {_kind(tensor)} in one model and {_kind(tuned[name])} in the other."
            )
    planned = [] if plan is None else [*plan.by_name, *plan.whole, *plan.frozen]
    absent = [name for name in planned if name not in base]
    if absent:
        raise UnitError(f"The plan is of another model: these weights have no {absent[0]}.")
    groups = group_copies(base, tuned, planned)
    found = (find_part(one, groups[one], base[one], tuned[one], plan) for one in sorted(groups))
    parts = tuple(part for part in found if part is not None)
    if not parts:
        raise UnitError("Nothing changed: the two models are the same to the last bit.")
    values = sum(base[name].numel() for name in groups)
    nbytes = sum(base[name].nbytes for name in groups)
    rest = untouched(base, parts)
    about = Base(origin.identifier, origin.revision, origin.fingerprint, values, nbytes, rest)
    return Delta(about, parts)


def apply_delta(
    weights: Weights, delta: Delta, *, other_base: bool = False
) -> dict[str, torch.Tensor]:
    """Turn the base into the tuned model.

    Args:
        weights: The base's tensors by name, in the dtypes the delta was made in; not changed.
        delta: From :func:`make_delta` or :meth:`Delta.load`.
        other_base: Go on even if weights that the delta does not touch are not those of its base;
            the result is then not the model that was trained.

    Returns:
        All tensors: touched ones new, contiguous and on the same device, the others as given.

    Raises:
        UnitError: The weights are not those of the base, or the delta is applied already or
            damaged.
    """
    return _switched(weights, delta, revert=False, other_base=other_base)


def revert_delta(
    weights: Weights, delta: Delta, *, other_base: bool = False
) -> dict[str, torch.Tensor]:
    """Turn the tuned model back into the base; otherwise like :func:`apply_delta`."""
    return _switched(weights, delta, revert=True, other_base=other_base)


def apply_to_folder(delta: Delta, base: Path, out: Path, *, other_base: bool = False) -> None:
    """Write a copy of a model folder with the delta applied.

    Args:
        delta: The delta.
        base: A folder as ``save_pretrained`` writes it.
        out: The new folder; it appears whole or not at all. Files, their tensors and header
            metadata are laid out as in ``base``; other files are copied.
        other_base: As in :func:`apply_delta`.

    Raises:
        UnitError: As :func:`apply_delta`, or ``base`` carries an adapter.
        ModelError: ``base`` holds no readable weights, other copies of them, or links to files
            that are not the model's.
        StoreError: ``out`` exists, lies inside ``base`` or cannot be written.
    """
    _switch_folder(delta, base, out, revert=False, other_base=other_base)


def revert_in_folder(delta: Delta, tuned: Path, out: Path, *, other_base: bool = False) -> None:
    """Write a copy of a tuned model's folder with the base's weights; see `apply_to_folder`."""
    _switch_folder(delta, tuned, out, revert=True, other_base=other_base)


def refuse_adapter(folder: Path) -> None:
    """Refuse a model folder that a delta does not describe as a whole.

    Raises:
        UnitError: It carries an adapter beside its weights.
    """
    if has_adapter(folder):
        raise UnitError(
            f"{folder} carries an adapter beside its weights ({ADAPTER}/); a delta holds weights "
            "alone and would not give the model that was meant. Nothing was written."
        )


def _switch_folder(
    delta: Delta, folder: Path, out: Path, *, revert: bool, other_base: bool
) -> None:
    check_new_folder(folder, out)
    refuse_adapter(folder)  # it would be copied, and be loaded with weights it was not trained on
    # The weights are checked before the first byte is written.
    weights = read_weights(folder)
    _check(weights, delta, revert=revert)
    _check_rest(weights, delta, other_base=other_base)
    by_name = {name: part for part in delta.parts for name in part.names}

    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return _switch(tensor, by_name[name], revert=revert) if name in by_name else tensor

    rewrite_folder(folder, out, change)


def _switched(
    weights: Weights, delta: Delta, *, revert: bool, other_base: bool
) -> dict[str, torch.Tensor]:
    _check(weights, delta, revert=revert)
    _check_rest(weights, delta, other_base=other_base)
    result = dict(weights)
    for part in delta.parts:
        for name in part.names:
            if name in weights:
                result[name] = _switch(weights[name], part, revert=revert)
    return result


def _switch(tensor: torch.Tensor, part: Part, *, revert: bool) -> torch.Tensor:
    fresh = part.switched(tensor)
    if digest(part.take(fresh)) != (part.before if revert else part.after):
        raise UnitError(f"The delta is damaged: its {part.name} is wrong. Nothing was written.")
    return fresh


def _check(weights: Weights, delta: Delta, *, revert: bool) -> None:
    """Refuse weights whose touched parts are not what the delta starts from."""
    made_for = f"This delta was made for {delta.base}"
    wrong: list[str] = []
    done = True
    for part in delta.parts:
        present = [name for name in part.names if name in weights]
        if not present:
            raise UnitError(f"{made_for}; these weights have no {part.name}. Nothing was written.")
        for name in present:
            tensor = weights[name]
            if not part.fits(tensor):
                wanted = f"{list(part.shape)} {part.dtype}"
                raise UnitError(
                    f"{made_for}; there {name} is {wanted}, here it is {_kind(tensor)}. "
                    "Nothing was written."
                )
            found = digest(part.take(tensor))
            if found != (part.after if revert else part.before):
                wrong.append(name)
            done = done and found == (part.before if revert else part.after)
    if not wrong:
        return
    if done:
        state = "reverted: these are the base's weights" if revert else "applied to these weights"
        raise UnitError(f"This delta is already {state} ({delta.base}). Nothing was written.")
    kind = "what it left there" if revert else "the base's values"
    more = f" and {len(wrong) - 1} more tensors" if len(wrong) > 1 else ""
    raise UnitError(f"{made_for}; {wrong[0]}{more} do not hold {kind}. Nothing was written.")


def _check_rest(weights: Weights, delta: Delta, *, other_base: bool) -> None:
    """Refuse weights that differ from the base where the delta changes nothing."""
    if other_base:
        return
    if wrong := differing(weights, delta.parts, delta.base.rest):
        more = f" and {len(wrong) - 1} more tensors" if len(wrong) > 1 else ""
        raise UnitError(
            f"This delta was made for {delta.base}. What it changes is here as it was there, but "
            f"other weights are not ({wrong[0]}{more}): the result would not be the model that was "
            "trained. other_base (--other-base) does it all the same. Nothing was written."
        )


def _kind(tensor: torch.Tensor) -> str:
    return f"{list(tensor.shape)} {dtype_name(tensor)}"

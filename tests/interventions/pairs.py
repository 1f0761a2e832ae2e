"""Hand-made deltas: pairs of weights before and after."""

from __future__ import annotations

import torch

from ssah_exp.interventions.delta import Delta, apply_delta, make_delta, revert_delta
from ssah_exp.interventions.plan import TrainingPlan
from tests.interventions.tuning import ORIGIN, raw_all

FOR_TINY = r"made for tiny/base, revision r7 \(fingerprint ffffffffffff\)"


def assert_exact(
    base: dict[str, torch.Tensor], after: dict[str, torch.Tensor], delta: Delta
) -> None:
    assert raw_all(apply_delta(base, delta)) == raw_all(after)
    assert raw_all(revert_delta(after, delta)) == raw_all(base)


class Pair:
    """Hand-made weights before and after."""

    def __init__(self, **pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.base = {name: pair[0] for name, pair in pairs.items()}
        self.after = {name: pair[1] for name, pair in pairs.items()}

    def delta(self, plan: TrainingPlan | None = None) -> Delta:
        return make_delta(self.base, self.after, plan, ORIGIN)


def changed_at(at: object, shape: tuple[int, ...] = (6, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    old = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    new = old.clone()
    new[at] += 0.5  # type: ignore[index]
    return old, new


# More rows than columns in number can still be fewer values, and the other way round.


def flip(tensor: torch.Tensor, *at: int) -> None:
    """Flip the lowest bit of one float32."""
    tensor.view(torch.int32)[at] ^= 1

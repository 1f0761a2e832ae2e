"""Compact training with all its options at once, against the same training written out plainly.

bfloat16 weights with float32 masters, accumulation over batches of unequal size, checkpointing,
clipping, a schedule, grouped-query attention, both objectives, both optimizers, one rank and two.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.lightning import make_trainer
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.training import loop
from tests.ranks.forked import run_forked
from tests.training.planning import masks_of, some_units
from tests.training.resuming import KillAt, KilledError
from tests.training.together import (
    CASES,
    DECAY,
    EACH,
    NONE,
    ON_RANKS,
    Case,
    Mistakes,
    OnParts,
    Result,
    calm,
    distance,
    on_a_rank,
    plain,
    train,
)

# One activation that rounds the other way in bfloat16 moves a training by one to four hundredths.
NEAR = {torch.float32: 1e-3, torch.bfloat16: 0.06}


@cache
def written_out(name: str, parts: int = 1, mistakes: Mistakes = NONE) -> Result:
    return plain(CASES[name], mistakes=mistakes, parts=parts)


def assert_equal_trainings(case: Case, found: Result, wanted: Result) -> None:
    """Masters end in the same place, losses were the same, and frozen bits are the start's."""
    assert distance(case, found.masters, wanted.masters) < NEAR[case.dtype]
    low = case.dtype == torch.bfloat16
    first = slice(EACH)  # before anything moved; rounding carries on from there
    assert found.losses[first] == pytest.approx(wanted.losses[first], rel=2e-2 if low else 1e-4)
    assert len(found.losses) == len(wanted.losses) == 8
    model = case.loaded().model
    for name, mask in masks_of(model, case.plan(model)).items():
        start = model.get_parameter(name).detach()
        assert torch.equal(found.weights[name][~mask], start[~mask]), f"{name} is frozen"
        if mask.any():
            rounded = found.masters[name].to(case.dtype)
            assert torch.equal(found.weights[name][mask], rounded), f"{name} is not its master"


@pytest.mark.parametrize("name", CASES)
def test_all_options_at_once_end_where_masked_gradients_do(name: str) -> None:
    with calm():
        found = train(CASES[name])
    assert found.compact > 0
    assert_equal_trainings(CASES[name], found, written_out(name))


@pytest.mark.parametrize("name", ["budget", "budget, dpo"])
@pytest.mark.parametrize(
    "mistakes",
    [
        Mistakes(masters=False),
        Mistakes(equal_batches=True),
        Mistakes(clip_frozen_too=True),
        Mistakes(half_of_the_rows=True),
    ],
    ids=["no masters", "batches count equally", "frozen gradients clip", "one rank's rows"],
)
def test_a_mistake_in_any_of_them_would_be_seen(name: str, mistakes: Mistakes) -> None:
    """Else the tolerance above could hide it."""
    parts = 2 if mistakes.half_of_the_rows else 1
    wrong, right = written_out(name, parts, mistakes), written_out(name, parts)
    assert distance(CASES[name], wrong.masters, right.masters) > 1.4 * NEAR[torch.bfloat16]


def test_of_the_shared_heads_some_are_frozen_beside_a_trained_query_head() -> None:
    """Else grouped-query attention would be as any other in these cases."""
    case = CASES["budget"]
    model = case.loaded().model
    anatomy, chosen = read_anatomy(model), some_units(model, case.share)
    heads = chosen.reshape(anatomy.layers, -1)[:, : anatomy.heads]
    groups = heads.reshape(anatomy.layers, anatomy.kv_heads, -1)
    assert (groups.any(axis=2) & ~groups.all(axis=2)).any()
    assert groups.all(axis=2).any()


def test_where_little_is_frozen_both_ways_are_taken_in_one_model() -> None:
    with calm():
        found = train(CASES["freeze few"])
    model = CASES["freeze few"].loaded().model
    plan = CASES["freeze few"].plan(model)
    weights = [item for item in plan.slices if item.name.endswith("weight")]
    assert 0 < found.compact < len(weights)


@pytest.mark.parametrize("name", ["budget, dpo, eight bits", "freeze few"])
@pytest.mark.parametrize("batch", [EACH, 7])
def test_killed_with_all_options_on_it_ends_at_the_same_bits(
    name: str, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a step and amid one; the masters are compared, of which weights show a part."""
    make = make_trainer
    with calm():
        straight = train(CASES[name])
        for kill_at in (batch, 0):
            monkeypatch.setattr(
                loop,
                "make_trainer",
                lambda config, callbacks, at=kill_at, **rest: make(
                    config, [*callbacks, KillAt(at)], **rest
                ),
            )
            if kill_at:
                with pytest.raises(KilledError):
                    train(CASES[name], checkpoints=tmp_path)
        found = train(CASES[name], checkpoints=tmp_path)
    assert found.losses == straight.losses
    for key, item in straight.masters.items():
        assert torch.equal(found.masters[key], item), key
    for key, item in straight.weights.items():
        assert torch.equal(found.weights[key], item), key


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both of two processes ended with."""
    folder = tmp_path_factory.mktemp("together")
    run_forked(2, on_a_rank, folder)
    return folder


@pytest.mark.parametrize("name", ON_RANKS)
def test_two_ranks_with_all_options_on_end_there_too(two: Path, name: str) -> None:
    first, second = (
        Result(**torch.load(two / f"{name}-{rank}.pt", weights_only=True)) for rank in (0, 1)
    )
    for key, item in first.weights.items():
        assert torch.equal(item, second.weights[key]), key
    for key, item in first.masters.items():
        assert torch.equal(item, second.masters[key]), key
    assert first.losses == second.losses
    assert_equal_trainings(CASES[name], first, written_out(name, parts=2))


@pytest.mark.parametrize("dpo", [False, True])
def test_the_real_eight_bit_optimizer_has_states_of_the_trained_part_alone(dpo: bool) -> None:
    """As one that is given rows and columns cut out by hand: its states are blocks of entries."""
    optim = pytest.importorskip("bitsandbytes").optim
    # Tensors below 4,096 weights have 32-bit states: the MLP must be wide enough.
    case = Case(dpo=dpo, optimizer="adamw_8bit", neurons=512)

    def by_hand(masters: dict[str, torch.nn.Parameter], plan: TrainingPlan) -> OnParts:
        return OnParts(
            masters, plan, lambda parts: optim.AdamW8bit(parts, lr=0.0, weight_decay=DECAY)
        )

    found, wanted = train(case), plain(case, by_hand)  # type: ignore[arg-type]
    assert_equal_trainings(case, found, wanted)
    exact = plain(case)
    assert distance(case, wanted.masters, exact.masters) > NEAR[torch.bfloat16], "not of eight bits"

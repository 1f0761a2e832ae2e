"""Compact training with all its options at once, against the same training written out plainly.

bfloat16 weights with float32 masters, accumulation over batches of unequal size, checkpointing,
clipping, a schedule, grouped-query attention, both objectives, both optimizers; one rank, two under
DDP and two under FSDP2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.models.anatomy import read_anatomy
from tests.ranks.forked import run_forked
from tests.training.planning import masks_of, some_units
from tests.training.resuming import KilledError, killed_at
from tests.training.together import (
    CASES,
    DECAY,
    EACH,
    NONE,
    ON_RANKS,
    REAL,
    SHARDED,
    Case,
    Mistakes,
    OnParts,
    Result,
    assert_same_bits,
    calm,
    distance,
    on_a_rank,
    on_a_rank_in_eight_bits,
    plain,
    train,
)

# One activation that rounds the other way in bfloat16 moves a training by one to four hundredths.
NEAR = {torch.float32: 1e-3, torch.bfloat16: 0.06}


@cache
def written_out(name: str, parts: int = 1, mistakes: Mistakes = NONE) -> Result:
    return plain(CASES[name], mistakes=mistakes, parts=parts)


def kept(folder: Path, name: str, rank: int) -> Result:
    """What one of two processes ended with."""
    return Result(**torch.load(folder / f"{name}-{rank}.pt", weights_only=True))


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
    name: str, batch: int, tmp_path: Path
) -> None:
    """Behind a step and amid one; the masters are compared, of which weights show a part."""
    with calm():
        straight = train(CASES[name])
        with killed_at(batch), pytest.raises(KilledError):
            train(CASES[name], checkpoints=tmp_path)
        found = train(CASES[name], checkpoints=tmp_path)
    assert_same_bits(found, straight)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both of two processes ended with."""
    folder = tmp_path_factory.mktemp("together")
    run_forked(2, on_a_rank, folder)
    return folder


@pytest.mark.parametrize("name", ON_RANKS)
def test_two_ranks_with_all_options_on_end_there_too(two: Path, name: str) -> None:
    first, second = (kept(two, name, rank) for rank in (0, 1))
    assert_same_bits(first, second)
    assert_equal_trainings(CASES[name], first, written_out(name, parts=2))


@pytest.mark.parametrize("name", SHARDED)
def test_two_sharded_ranks_with_all_options_on_end_there_too(two: Path, name: str) -> None:
    """Much nearer than DDP's: their gradients are averaged in float32, every batch's.

    Rank 0 alone has the masters put together.
    """
    first, second = (kept(two, name, rank) for rank in (0, 1))
    assert_same_bits(replace(first, masters={}), replace(second, masters={}))
    wanted = written_out(name.removesuffix(", sharded"), parts=2)
    assert_equal_trainings(SHARDED[name], first, wanted)
    assert distance(SHARDED[name], first.masters, wanted.masters) < NEAR[torch.float32] / 10


def by_hand(masters: Mapping[str, torch.nn.Parameter], plan: TrainingPlan) -> OnParts:
    """bitsandbytes' optimizer of rows and columns cut out by hand."""
    optim = pytest.importorskip("bitsandbytes").optim
    return OnParts(masters, plan, lambda parts: optim.AdamW8bit(parts, lr=0.0, weight_decay=DECAY))


@pytest.mark.parametrize("name", REAL)
def test_the_real_eight_bit_optimizer_has_states_of_the_trained_part_alone(name: str) -> None:
    """As one that is given rows and columns cut out by hand: its states are blocks of entries."""
    pytest.importorskip("bitsandbytes")
    case = REAL[name]
    found, wanted = train(case), plain(case, by_hand)
    assert_equal_trainings(case, found, wanted)
    exact = plain(case)
    assert distance(case, wanted.masters, exact.masters) > NEAR[torch.bfloat16], "not of eight bits"


@pytest.fixture(scope="module")
def two_in_eight_bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both of two processes ended with under bitsandbytes itself."""
    pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp("eight")
    run_forked(2, on_a_rank_in_eight_bits, folder)
    return folder


@pytest.mark.parametrize("name", REAL)
def test_two_ranks_with_the_real_eight_bit_optimizer_end_there_too(
    two_in_eight_bits: Path, name: str
) -> None:
    """Each moves its own copy by 8-bit states of its own: these must be equal, too."""
    first, second = (kept(two_in_eight_bits, f"{name}, undisturbed", rank) for rank in (0, 1))
    assert_same_bits(first, second)
    assert_equal_trainings(REAL[name], first, plain(REAL[name], by_hand, parts=2))


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", REAL)
def test_two_ranks_go_on_with_the_states_of_the_real_eight_bit_optimizer(
    two_in_eight_bits: Path, name: str, rank: int
) -> None:
    """Rank 0 alone has written them."""
    straight, found = (
        kept(two_in_eight_bits, f"{name}, {how}", rank) for how in ("undisturbed", "gone on with")
    )
    assert found.batches == len(straight.losses) - EACH
    assert_same_bits(found, straight)

"""Slices under DistributedDataParallel: two processes end with the weights that one gets."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssah_exp.interventions.plan import TrainingPlan, plan_training
from ssah_exp.models.logits import token_losses
from ssah_exp.training.tuned import Way, tuned_weights
from tests import tiny
from tests.forking import START_METHOD
from tests.training.planning import masks_of, some_units

PROCESSES, STEPS, RESPONSE = 2, 4, 5
WAYS: tuple[Way, ...] = ("compact", "masked")


class Loss(nn.Module):
    """What is trained, as one module: gradients are exchanged in its backward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Mean over the last ``RESPONSE`` tokens of every row."""
        left = mask.flip(1).cumsum(1).flip(1)  # tokens from here to the end of the row
        counted = mask.bool() & (left <= RESPONSE)
        return token_losses(self.model, ids, mask, counted).mean()  # type: ignore[arg-type]


def rows_of(step: int) -> list[list[int]]:
    """Four conversations of different length, all with as many response tokens."""
    lengths = [RESPONSE + 3 + (at + step) % 4 for at in range(2 * PROCESSES)]
    return [tiny.random_words(length, 10 * step + at) for at, length in enumerate(lengths)]


def planned(model: nn.Module) -> TrainingPlan:
    return plan_training(model, "budget", some_units(model))


def train(way: Way, rank: int | None) -> dict[str, torch.Tensor]:
    """Train on every second row of each batch, or, as ``rank`` None, on all of them."""
    model = tiny.tiny_model("llama_gqa")
    with tuned_weights(model, planned(model), way) as tuned:
        parameters = tuned.optimizer_parameters()
        # Adam's default eps would blow rounding of gradients near zero up to whole steps.
        optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1, eps=1e-3)
        loss = Loss(model) if rank is None else DistributedDataParallel(Loss(model))
        for step in range(STEPS):
            rows = rows_of(step) if rank is None else rows_of(step)[rank::PROCESSES]
            optimizer.zero_grad()
            loss(*tiny.padded(rows)).backward()
            tuned.before_step()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            tuned.after_step()
    return {name: item.detach().clone() for name, item in model.named_parameters()}


def work(rank: int, folder: str) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=60),
    )
    for way in WAYS:
        save_file(train(way, rank), f"{folder}/{way}-{rank}.safetensors")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both processes ended with."""
    place = tmp_path_factory.mktemp("ddp")
    mp.start_processes(  # type: ignore[no-untyped-call]
        work, args=(str(place),), nprocs=PROCESSES, start_method=START_METHOD
    )
    return place


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_end_with_the_weights_of_one(folder: Path, way: Way) -> None:
    first, second = (load_file(folder / f"{way}-{rank}.safetensors") for rank in range(PROCESSES))
    alone = train(way, None)
    start = tiny.tiny_model("llama_gqa")
    before, masks = dict(start.named_parameters()), masks_of(start, planned(start))
    moved = 0
    for name, mask in masks.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.equal(first[name][~mask], before[name][~mask]), f"{name} is frozen"
        torch.testing.assert_close(first[name], alone[name], rtol=0, atol=1e-5)
        moved += int(((first[name] - before[name]).abs() > 1e-3)[mask].sum())
    assert moved > 0.5 * planned(start).changeable(start), "far beyond the tolerance"


def test_half_of_the_rows_alone_would_end_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the test above could not tell an exchange of gradients from none."""
    both = load_file(folder / "compact-0.safetensors")
    every = rows_of
    monkeypatch.setattr("tests.training.test_ddp.rows_of", lambda step: every(step)[::PROCESSES])
    half = train("compact", None)
    assert max(float((half[name] - both[name]).abs().max()) for name in both) > 1e-3

"""Batches that are accumulated make the step that one batch of all of them would make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from ssah_exp.config.schema import AlignmentConfig, TrainerConfig, TuningConfig
from ssah_exp.data.chat import Encoded
from ssah_exp.data.preferences import EncodedPair
from ssah_exp.errors import ConfigError, ModelError
from ssah_exp.interventions.plan import plan_training
from ssah_exp.lightning import make_trainer
from ssah_exp.training import loop
from ssah_exp.training.loop import Run, fine_tune, supervised_run
from ssah_exp.training.module import FineTuning
from ssah_exp.training.objectives import SupervisedObjective
from ssah_exp.training.preference import PreferenceObjective, ReferencedPair, preference_loader
from ssah_exp.training.replay import ReplayedBatches
from ssah_exp.training.tuned import tuned_weights
from tests import tiny

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCHES, EACH = 5, 3  # steps of three batches and of two
CPU = TrainerConfig(accelerator="cpu", progress=False)
# So small a rate that float32 weights stay what they are to rounding, and no bfloat16 one moves.
STILL = TuningConfig(epochs=1, batch_size=2, learning_rate=1e-8, gradient_clip=0)

Tensors = dict[str, torch.Tensor]


class Gradients(pl.Callback):
    """Keeps what every step is given."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        named = pl_module.model.named_parameters()
        self.steps.append({name: item.grad.clone() for name, item in named})


def trained_gradients(
    monkeypatch: pytest.MonkeyPatch, loaded: tiny.LoadedModel, run: Run
) -> tuple[list[dict[str, torch.Tensor]], list[float]]:
    """The gradient of every step and the loss of every batch, with the model as before."""
    seen, make = Gradients(), make_trainer
    before = {name: item.detach().clone() for name, item in loaded.model.named_parameters()}
    monkeypatch.setattr(
        loop,
        "make_trainer",
        lambda config, callbacks, **rest: make(config, [*callbacks, seen], **rest),
    )
    losses = fine_tune(loaded, run)[0].losses
    loaded.model.load_state_dict(before, strict=False)
    return seen.steps, losses


def token_mean(model: PreTrainedModel, examples: Sequence[Encoded]) -> torch.Tensor:
    """Mean loss over the response tokens of all examples, one example at a time."""
    losses = []
    for item in examples:
        ids = torch.tensor([item.input_ids])
        every = F.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        losses.append(every[item.response_start - 1 :])
    return torch.cat(losses).mean()


def assert_gradients(model: PreTrainedModel, loss: torch.Tensor, given: Tensors) -> None:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for name, item in model.named_parameters():
        assert item.grad is not None
        torch.testing.assert_close(given[name], item.grad, rtol=1e-2, atol=2e-5)


def test_every_step_is_the_mean_over_all_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    run = replace(
        supervised_run(loaded, tiny.conversations(2 * BATCHES), STILL, 0, CPU), accumulate=EACH
    )
    steps, losses = trained_gradients(monkeypatch, loaded, run)
    model, batches = loaded.model, list(run.loader_of())
    sizes = [int(batch.response_mask.sum()) for batch in batches]
    assert len(set(sizes[:EACH])) > 1 < len(set(sizes[EACH:])), "else batches may count equally"
    assert len(steps) == 2
    for given, some in zip(steps, (batches[:EACH], batches[EACH:]), strict=True):
        examples = [
            Encoded(tuple(ids[: int(length)].tolist()), int(mask.int().argmax()))
            for batch in some
            for ids, length, mask in zip(
                batch.input_ids, batch.attention_mask.sum(1), batch.response_mask, strict=True
            )
        ]
        assert_gradients(model, token_mean(model, examples), given)
    wanted = [float(SupervisedObjective().loss(model, batch).detach()) for batch in batches]
    assert losses == pytest.approx(wanted, rel=1e-4), "what is reported is not weighted"


def test_in_dpo_every_pair_of_a_step_counts_equally(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    answers = tiny.conversations(10)
    pairs = [
        ReferencedPair(EncodedPair(chosen, rejected), -20.0 - at, -30.0 + at)
        for at, (chosen, rejected) in enumerate(zip(answers[::2], answers[1::2], strict=True))
    ]
    objective = PreferenceObjective(0.1)
    run = Run(
        lambda: preference_loader(pairs, 0, 2, 0), 5, STILL, 0, CPU, objective, accumulate=EACH
    )
    (given,), _ = trained_gradients(monkeypatch, loaded, run)  # of 2, 2 and 1 pairs
    (every,) = preference_loader(pairs, 0, len(pairs), 0)
    assert_gradients(loaded.model, objective.loss(loaded.model, every), given)


@pytest.mark.parametrize("each", [1, 2, 3, 4])
def test_weights_are_shares_of_a_step(each: int) -> None:
    sizes = [5, 1, 3, 2]
    turns = list(ReplayedBatches(lambda: sizes, 2, each, lambda size: size))  # type: ignore[arg-type]
    assert [turn.batch for turn in turns] == 2 * sizes
    for start in range(0, len(turns), each):
        step = turns[start : start + each]
        total = sum(turn.batch for turn in step)
        for turn in step:
            assert turn.weight == pytest.approx(each * turn.batch / total)
    if each == 1:
        assert all(turn.weight == 1 for turn in turns), "exactly, so that losses are left alone"


def test_a_step_of_nothing_weighs_nothing() -> None:
    """As where every answer of its batches was cut off."""
    turns = ReplayedBatches(lambda: [0, 0, 3], 1, 2, lambda size: size)  # type: ignore[arg-type]
    assert [turn.weight for turn in turns] == [0, 0, 2]


def test_bfloat16_gradients_add_up_in_float32() -> None:
    """Each batch's share is below the spacing of the sum of all of them."""
    count, model = 512, tiny.tiny_model("llama_gqa", dtype=torch.bfloat16)
    with tuned_weights(model, plan_training(model, "none", None)) as tuned:
        masters = tuned.optimizer_parameters()
        for _ in range(count):
            tuned.before_batch()
            for item in model.parameters():
                # What backward does: from the second batch on it adds to what is there.
                share = torch.full_like(item, 1 / count)
                item.grad = share if item.grad is None else item.grad + share
        tuned.before_step()
    for master in masters:
        assert master.grad is not None
        torch.testing.assert_close(master.grad, torch.ones_like(master))


def test_a_run_gives_its_optimizer_the_float32_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.tiny_loaded("llama_gqa", dtype=torch.bfloat16)
    given: list[list[torch.Tensor]] = []
    hand_over = FineTuning.on_before_optimizer_step

    def watched(module: FineTuning, optimizer: Any) -> None:
        hand_over(module, optimizer)
        given.append([item.grad.clone() for item in optimizer.param_groups[0]["params"]])

    monkeypatch.setattr(FineTuning, "on_before_optimizer_step", watched)
    run = replace(
        supervised_run(loaded, tiny.conversations(2 * EACH), STILL, 0, CPU), accumulate=EACH
    )
    with pytest.raises(ModelError, match="changed"):
        fine_tune(loaded, run)
    wanted = [torch.zeros_like(item, dtype=torch.float32) for item in loaded.model.parameters()]
    batches, objective = list(run.loader_of()), SupervisedObjective()
    tokens = sum(objective.size(batch) for batch in batches)
    for batch in batches:
        loaded.model.zero_grad()
        (objective.loss(loaded.model, batch) * objective.size(batch) / tokens).backward()  # type: ignore[no-untyped-call]
        for total, item in zip(wanted, loaded.model.parameters(), strict=True):
            assert item.grad is not None
            total += item.grad.float()
    assert len(given) == 1
    for found, total in zip(given[0], wanted, strict=True):
        torch.testing.assert_close(found, total, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("changes", "accumulate", "message"),
    [
        ({}, 4, r"training\.accumulate=4: there are no more than 3 batches"),
        ({"warmup_share": 0.7}, 1, r"\.warmup_share=0\.7 of 3 steps is 3: the learning rate would"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "group"), [(TuningConfig, "training"), (AlignmentConfig, "alignment")]
)
def test_what_is_longer_than_the_data_is_refused_by_its_key(
    changes: dict[str, float],
    accumulate: int,
    message: str,
    kind: type[TuningConfig],
    group: str,
) -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    config = kind(epochs=1, batch_size=2, **changes)  # type: ignore[arg-type]
    message = message if accumulate > 1 else f"{group}{message}"
    trainer = TrainerConfig(accelerator="cpu", progress=False)
    run = replace(
        supervised_run(loaded, tiny.conversations(6), config, 0, trainer), accumulate=accumulate
    )
    with pytest.raises(ConfigError, match=message):
        fine_tune(loaded, run)

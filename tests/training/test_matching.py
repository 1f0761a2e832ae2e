"""The training loss that arms are compared by, and stopping at it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ssah_exp import ranks
from ssah_exp.config.schema import TrainerConfig, TuningConfig
from ssah_exp.data.chat import Encoded
from ssah_exp.errors import DataError
from ssah_exp.interventions.plan import plan_training
from ssah_exp.models.load import LoadedModel
from ssah_exp.training import matching
from ssah_exp.training.adapters.lora import Lora
from ssah_exp.training.loop import TrainingSummary, fine_tune, supervised_run
from ssah_exp.training.matching import LossMatch, loss_sample, mean_response_loss
from tests import tiny

CPU = TrainerConfig(accelerator="cpu", progress=False)
EXAMPLES = tiny.conversations(9)


@pytest.mark.parametrize(
    ("total", "count", "styles"), [(256, 64, 2), (160, 48, 2), (9, 9, 2), (10, 4, 3), (126, 48, 1)]
)
def test_the_sample_spreads_over_every_style(total: int, count: int, styles: int) -> None:
    examples: list[Any] = list(range(total))
    found = loss_sample(examples, count, styles)
    assert len(set(found)) == len(found) == count
    by_style = [sum(at % styles == style for at in found) for style in range(styles)]
    assert max(by_style) - min(by_style) <= 1
    for style in range(styles):  # and over the examples: refusals come first, answers behind
        places = [at for at in found if at % styles == style]
        steps = [after - before for before, after in pairwise(places)]
        assert max(steps, default=0) <= total / by_style[style] + styles


def looped(loaded: LoadedModel, examples: list[Encoded]) -> float:
    """Mean over all response tokens, one conversation at a time, nothing padded."""
    losses: list[float] = []
    for item in examples:
        with torch.no_grad():
            logits = loaded.model(torch.tensor([item.input_ids])).logits[0].double()
        for at in range(max(item.response_start, 1), len(item.input_ids)):
            losses.append(-float(logits[at - 1].log_softmax(-1)[item.input_ids[at]]))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("family", ["llama_gqa", "gemma2"])
@pytest.mark.parametrize("batch_size", [1, 4, 9, 100])
def test_it_is_the_mean_over_response_tokens_at_any_batch_size(
    family: str, batch_size: int
) -> None:
    loaded = tiny.tiny_loaded(family)
    got = mean_response_loss(loaded, EXAMPLES, batch_size)
    assert got == pytest.approx(looped(loaded, EXAMPLES), rel=1e-5)


def test_a_bound_is_enough_where_the_question_is_whether_it_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = tiny.tiny_loaded()
    whole = mean_response_loss(loaded, EXAMPLES, 2)
    passes = 0
    measured = matching.token_losses

    def counted(*given: Any) -> torch.Tensor:
        nonlocal passes
        passes += 1
        return measured(*given)

    monkeypatch.setattr(matching, "token_losses", counted)
    assert mean_response_loss(loaded, EXAMPLES, 2, at_most=whole) == whole
    everything, passes = passes, 0
    found = mean_response_loss(loaded, EXAMPLES, 2, at_most=whole / 3)
    assert whole / 3 < found < whole
    assert 0 < passes < everything
    assert mean_response_loss(loaded, EXAMPLES, 2, at_most=whole * 0.999) > whole * 0.999


@pytest.mark.parametrize("first", [True, False])
def test_ranks_stop_measuring_behind_the_same_batch(
    monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """They share a model's passes: one that goes on would wait for another that has stopped."""
    passes: list[int] = []
    measured = matching.token_losses

    def counted(*given: Any) -> torch.Tensor:
        passes.append(1)
        return measured(*given)

    monkeypatch.setattr(matching, "token_losses", counted)
    monkeypatch.setattr(ranks, "everyones", lambda value: [first, not first])
    own = 1e9 if first else 0.0  # what this rank says is the opposite
    mean_response_loss(tiny.tiny_loaded(), EXAMPLES, 2, at_most=own)
    assert len(passes) == (1 if first else 5)


def test_padding_of_a_look_is_that_of_like_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    padded = []
    measured = matching.token_losses

    def watched(model: Any, ids: torch.Tensor, mask: torch.Tensor, *more: Any) -> torch.Tensor:
        padded.append(int((mask == 0).sum()))
        return measured(model, ids, mask, *more)

    monkeypatch.setattr(matching, "token_losses", watched)
    long, short = (Encoded(tuple(range(3, 3 + size)), 1) for size in (9, 4))
    loss = mean_response_loss(tiny.tiny_loaded(), [long, short, long, short], 2)
    assert padded == [0, 0]
    assert loss == mean_response_loss(tiny.tiny_loaded(), [short, long, short, long], 2)


def test_prompts_do_not_count() -> None:
    loaded = tiny.tiny_loaded()
    other = [Encoded(item.input_ids, item.response_start + 1) for item in EXAMPLES]
    assert mean_response_loss(loaded, other, 4) == pytest.approx(looped(loaded, other), rel=1e-5)
    assert mean_response_loss(loaded, other, 4) != pytest.approx(looped(loaded, EXAMPLES), rel=1e-3)
    bare = [Encoded(item.input_ids, 0) for item in EXAMPLES]  # nothing precedes the first token
    assert mean_response_loss(loaded, bare, 4) == pytest.approx(looped(loaded, bare), rel=1e-5)


@pytest.mark.parametrize("examples", [[], [Encoded((1, 2, 3), 3)]])
def test_without_a_response_there_is_no_loss(examples: list[Encoded]) -> None:
    with pytest.raises(DataError, match=f"of {len(examples)} examples none has any"):
        mean_response_loss(tiny.tiny_loaded(), examples, 4)


@pytest.mark.parametrize("training", [True, False])
def test_it_leaves_the_model_in_the_mode_it_was_in(training: bool) -> None:
    loaded = tiny.tiny_loaded()
    loaded.model.train(training)
    mean_response_loss(loaded, EXAMPLES, 4)
    assert {module.training for module in loaded.model.modules()} == {training}
    assert all(item.grad is None for item in loaded.model.parameters())


def test_dropout_is_off_and_no_randomness_is_drawn() -> None:
    loaded = tiny.tiny_loaded("llama_gqa", attention_dropout=0.5)
    quiet = mean_response_loss(loaded, EXAMPLES, 4)
    loaded.model.train()
    before = torch.get_rng_state()
    assert mean_response_loss(loaded, EXAMPLES, 4) == quiet
    assert torch.equal(torch.get_rng_state(), before)


class Looks:
    """Counts how often the loss is looked at, and after how many optimizer steps."""

    def __init__(self, losses: list[float]) -> None:
        self.losses, self.count = iter(losses), 0

    def __call__(self, *_: Any, **__: Any) -> float:
        self.count += 1
        return next(self.losses)


def trained(
    match: LossMatch | None, monkeypatch: pytest.MonkeyPatch, looks: Looks, accumulate: int = 1
) -> TrainingSummary:
    """Nine conversations in batches of two, four times: 20 batches."""
    monkeypatch.setattr(matching, "mean_response_loss", looks)
    loaded = tiny.tiny_loaded()
    config = TuningConfig(epochs=4, batch_size=2, learning_rate=1e-3)
    run = replace(
        supervised_run(loaded, EXAMPLES, config, 0, CPU), match=match, accumulate=accumulate
    )
    return fine_tune(loaded, run, plan_training(loaded.model, "none", None))[0]


@pytest.mark.parametrize(("every", "steps", "count"), [(1, 3, 3), (4, 12, 3), (7, 15, 3)])
def test_it_stops_where_the_loss_is_reached_and_looks_no_more(
    monkeypatch: pytest.MonkeyPatch, every: int, steps: int, count: int
) -> None:
    """An epoch has five steps, and it looks at least once in each."""
    looks = Looks([5.0, 4.0, 2.5])
    summary = trained(LossMatch(2.5, every), monkeypatch, looks)
    assert (summary.steps, looks.count) == (steps, count)
    assert summary.epochs == steps / 5


def test_accumulated_batches_are_one_step_and_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks([5.0, 4.0, 2.5])
    summary = trained(LossMatch(2.5, 2), monkeypatch, looks, accumulate=3)
    assert (summary.steps, looks.count) == (18, 3), "every second of the steps of three batches"


@pytest.mark.parametrize("first", [True, False])
def test_ranks_stop_when_the_first_of_them_would(
    monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Else one would wait for ever for gradients of another that has stopped."""
    monkeypatch.setattr(ranks, "everyones", lambda value: [first, not first])
    callback = LossMatch(2.5, 1).callback(tiny.tiny_loaded(), EXAMPLES, 5)
    module = SimpleNamespace(config=TuningConfig())
    trainer = SimpleNamespace(should_stop=False, global_step=1)
    callback.on_train_batch_end(trainer, module, None, None, 0)  # type: ignore[arg-type]
    assert trainer.should_stop == first


@pytest.mark.parametrize("reached", [True, False])
def test_a_run_that_goes_on_knows_what_its_last_look_found(
    monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    """Saved at the step of a look, before or after it: one look serves both."""
    looks = Looks([2.5 if reached else 5.0, 5.0])
    monkeypatch.setattr(matching, "mean_response_loss", looks)
    loaded, module = tiny.tiny_loaded(), SimpleNamespace(config=TuningConfig())
    first, again = (LossMatch(2.5, 2).callback(loaded, EXAMPLES, 5) for _ in range(2))
    trainer: Any = SimpleNamespace(should_stop=False, global_step=2)
    saved: dict[str, Any] = {"global_step": 2}
    first.on_save_checkpoint(trainer, module, saved)  # type: ignore[arg-type]
    again.on_load_checkpoint(trainer, module, saved)  # type: ignore[arg-type]
    again.on_train_start(trainer, module)  # type: ignore[arg-type]
    assert trainer.should_stop == reached
    for trainer.global_step, count in ((2, 1), (3, 1), (4, 1 if reached else 2)):
        again.on_train_batch_end(trainer, module, None, None, 0)  # type: ignore[arg-type]
        assert looks.count == count


def test_a_stop_that_others_asked_for_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "mean_response_loss", Looks([5.0]))
    callback = LossMatch(2.5, 1).callback(tiny.tiny_loaded(), EXAMPLES, 5)
    trainer: Any = SimpleNamespace(should_stop=True, global_step=1)
    module: Any = SimpleNamespace(config=TuningConfig())
    callback.on_train_start(trainer, module)
    callback.on_train_batch_end(trainer, module, None, None, 0)
    assert trainer.should_stop


def test_without_a_target_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks([])
    assert trained(None, monkeypatch, looks).steps == 20


@pytest.mark.parametrize("last", [2.5, 3.0])
def test_what_the_very_last_look_found_is_kept_where_the_loss_does_not_say_it(
    monkeypatch: pytest.MonkeyPatch, last: float
) -> None:
    """Merging may lift an adapter's loss over its target, and its epochs were over anyway."""
    monkeypatch.setattr(matching, "mean_response_loss", Looks([5.0, 4.0, 3.0, last]))
    loaded = tiny.tiny_loaded()
    config = TuningConfig(epochs=4, batch_size=2, learning_rate=1e-3)
    match = LossMatch(2.5, 5)
    run = replace(supervised_run(loaded, EXAMPLES, config, 0, CPU), match=match, sample=EXAMPLES)
    summary = fine_tune(loaded, run, plan_training(loaded.model, "none", None))[0]
    assert summary.steps == 20
    assert summary.train_loss is not None
    assert summary.train_loss > 2.5
    assert summary.as_dict().get("reached") == (True if last <= 2.5 else None)


def test_dropout_goes_on_after_a_look() -> None:
    """A look puts the model into eval mode for a moment; training must not stay in it."""
    pytest.importorskip("peft")
    losses = []
    for every in (1, 1000):
        loaded = tiny.tiny_loaded()
        config = TuningConfig(epochs=2, batch_size=2, learning_rate=1e-2)
        match = LossMatch(-1.0, every)
        run = replace(
            supervised_run(loaded, EXAMPLES, config, 0, CPU), match=match, sample=EXAMPLES
        )
        losses.append(fine_tune(loaded, run, adapter=Lora(2, 4, dropout=0.5))[0].losses)
    assert losses[0] == losses[1]

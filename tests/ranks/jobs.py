"""What one rank and two ranks both do, so that tests can compare: identify, evaluate, train."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file

from ssah_exp import ranks
from ssah_exp.config.schema import TrainerConfig, TuningConfig, UnitsConfig
from ssah_exp.data.preferences import EncodedPair
from ssah_exp.evaluation.generate import Decoding, generate
from ssah_exp.evaluation.perplexity import window_losses
from ssah_exp.evaluation.questions import Prompt
from ssah_exp.interventions.ablate import ablated, plan_ablation
from ssah_exp.interventions.plan import plan_training
from ssah_exp.models.attached.base import attached_to
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sharded import mesh_of_ranks, shard
from ssah_exp.models.sizes import KINDS
from ssah_exp.training import module as training_module
from ssah_exp.training.adapters.llama_adapter import LlamaAdapter
from ssah_exp.training.adapters.lora import Lora
from ssah_exp.training.adapters.prefix import Prefix
from ssah_exp.training.adapters.unit_lora import UnitLora
from ssah_exp.training.loop import Run, fine_tune, supervised_run
from ssah_exp.training.matching import LossMatch
from ssah_exp.training.preference import (
    PreferenceObjective,
    preference_loader,
    with_reference,
)
from ssah_exp.units.identify import collect, identification_of
from tests import tiny
from tests.training.calling import with_callback
from tests.training.planning import some_units

SAFETY, UTILITY = tiny.conversations(7, seed=1), tiny.conversations(8, seed=2)
EXAMPLES = tiny.conversations(9, seed=5)  # in batches of 4: the last one has a single row
PROMPTS = [
    Prompt(tuple(tiny.random_words(3 + 2 * (at % 4), at)), f"group {at % 2}") for at in range(9)
]
WINDOWS = torch.tensor([tiny.random_words(12, seed) for seed in range(7)])


@dataclass(frozen=True)
class Training:
    """One fine-tuning.

    Attributes:
        policy: As in the config.
        adapter: What is trained in place of the weights.
        dtype: Of the model.
        more: Fields of the run.
        dpo: Preferences in place of answers.
        family: A tiny family.
    """

    policy: str = "none"
    adapter: Any = None
    dtype: torch.dtype = torch.float32
    more: dict[str, Any] = field(default_factory=dict)
    dpo: bool = False
    family: str = "llama_gqa"


EVERYWHERE = {
    "none": Training(),
    "freeze": Training("freeze"),
    "budget": Training("budget"),
    "budget_biases": Training("budget", family="qwen2"),
    "budget_gemma3": Training("budget", family="gemma3"),
    "none_tied": Training(family="llama_tied"),
    "lora": Training(adapter=Lora(2, 4.0)),
    "unit_lora": Training("budget", UnitLora(2, 4.0)),
    "accumulate": Training("budget", more={"accumulate": 2}),
    "checkpointing": Training("freeze", more={"gradient_checkpointing": True}),
    "dpo": Training(dpo=True),
    "bfloat16": Training("budget", dtype=torch.bfloat16),
    "bfloat16_none": Training(dtype=torch.bfloat16),
    "bfloat16_accumulate": Training(dtype=torch.bfloat16, more={"accumulate": 2}),
    "bfloat16_looked": Training(dtype=torch.bfloat16, more={"match": LossMatch(0.0, 1)}),
}
# Ranks draw for themselves, so these end elsewhere than one process does.
RANDOM = {"dropout": Training(adapter=Lora(2, 4.0, dropout=0.5))}
# Which training is ended how before it goes on.
ENDED = [("budget", "SIGTERM"), ("bfloat16_looked", "crash"), ("dropout", "crash")]
# Attached by hooks: every rank must hold the whole model.
WHOLE_ONLY = {
    "prefix": Training(adapter=Prefix(3)),
    "llama_adapter": Training(adapter=LlamaAdapter(3, 2)),
}


def trainer(strategy: str) -> TrainerConfig:
    return TrainerConfig(
        accelerator="cpu", progress=False, devices=ranks.count(), strategy=strategy
    )


@contextmanager
def calm_optimizer() -> Iterator[None]:
    """Adam's default eps would blow rounding of gradients near zero up to whole steps."""
    make = training_module.make_optimizer
    training_module.make_optimizer = lambda parameters, config: torch.optim.AdamW(  # type: ignore
        parameters, lr=config.learning_rate, weight_decay=0.1, eps=1e-3
    )
    try:
        yield
    finally:
        training_module.make_optimizer = make


def train(job: Training, strategy: str, **more: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """Weights after training, and what is said of it."""
    loaded = tiny.tiny_loaded(job.family, dtype=job.dtype)
    selected = None if job.policy == "none" else some_units(loaded.model)
    plan = plan_training(loaded.model, job.policy, selected)
    minutes = more.pop("minutes", None)
    with calm_optimizer():
        run = _run(job, loaded, strategy, {"sample": EXAMPLES[:3], **job.more, **more})
        run.trainer.checkpoint_minutes = minutes
        summary, certificate = fine_tune(loaded, run, plan, job.adapter)
    weights = {name: item.detach().clone() for name, item in loaded.model.named_parameters()}
    attached = attached_to(loaded.model)
    if attached is not None:
        weights |= {f"adapter {name}": item.detach() for name, item in attached.parameters.items()}
    said = {**summary.as_dict(), "certificate": certificate.summary()}
    return weights, said


def _run(job: Training, loaded: LoadedModel, strategy: str, more: dict[str, Any]) -> Run:
    config = TuningConfig(epochs=2, batch_size=4, learning_rate=1e-2)
    if not job.dpo:
        return replace(supervised_run(loaded, EXAMPLES, config, 3, trainer(strategy)), **more)
    both = zip(EXAMPLES[:5], EXAMPLES[4:9], strict=True)
    encoded = [EncodedPair(good, bad) for good, bad in both]
    pairs = with_reference(loaded, encoded, 2)
    return Run(
        lambda: preference_loader(pairs, 0, 2, 3),
        len(pairs),
        config,
        3,
        trainer(strategy),
        PreferenceObjective(0.1),
        **more,
    )


class _EndAt(pl.Callback):
    """Ends the run behind the second batch: one rank is told to by the system, or all crash."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        if len(pl_module.losses) == 2 and self.how == "crash":
            raise ArithmeticError
        if len(pl_module.losses) == 2 and ranks.rank() == ranks.count() - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def train_twice(
    job: Training, strategy: str, folder: Path, how: str
) -> tuple[dict[str, torch.Tensor], Any]:
    """Train, be ended in the middle, go on from the checkpoint."""
    minutes, end = (None, SystemExit) if how == "SIGTERM" else (0.0, ArithmeticError)
    with with_callback(_EndAt(how)), pytest.raises(end) as ended:
        train(job, strategy, checkpoints=folder, minutes=minutes)
    assert how != "SIGTERM" or ended.value.code == 143  # type: ignore[attr-defined]
    assert (folder / "last.ckpt").is_file()
    done = len(torch.load(folder / "last.ckpt", weights_only=True)["losses"])
    assert 0 < done < 6, done
    return train(job, strategy, checkpoints=folder, minutes=None)


def forward_jobs(folder: Path, *, split: bool) -> None:
    """Identify and evaluate; rank 0 writes."""
    loaded = tiny.never_stopping(tiny.tiny_loaded("llama_gqa"))
    stopping = tiny.tiny_loaded("llama_gqa")
    anatomy = loaded.anatomy
    if split:
        for item in (loaded, stopping):
            shard(item.model, mesh_of_ranks(cuda=False))
    calibration = {"safety": SAFETY, "utility": UTILITY}
    collected = collect(loaded, calibration, UnitsConfig(batch_size=3), trainer("auto"))
    found = identification_of(loaded, collected)
    if found is not None:
        found.save(folder)
    fills = {
        kind: torch.full((anatomy.layers, anatomy.channels(kind)), 0.5, dtype=torch.float64)
        for kind in KINDS
    }
    ablation = plan_ablation(some_units(stopping.model), anatomy, fills)
    said: dict[str, Any] = {"progress": []}
    for share_prefix in (True, False):
        decoding = Decoding(6, 2, share_prefix)
        said[f"answers {share_prefix}"] = generate(
            loaded, PROMPTS, decoding, said["progress"].append
        )
        said[f"stopping {share_prefix}"] = generate(stopping, PROMPTS, decoding)
    with ablated(stopping.model, ablation):
        said["ablated"] = generate(stopping, PROMPTS, Decoding(6, 2, False))
    said["losses"] = window_losses(loaded, WINDOWS, 2)
    if ranks.first():
        (folder / "said.json").write_text(json.dumps(said))


def save(folder: Path, name: str, weights: dict[str, torch.Tensor], said: Any) -> None:
    """What every rank ended with."""
    place = folder / f"{name}-{ranks.rank()}"
    save_file(weights, place.with_suffix(".safetensors"))
    place.with_suffix(".json").write_text(json.dumps(said))

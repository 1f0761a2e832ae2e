"""Adapters on tiny models: every method, and what a run with it leaves behind."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from ssah_exp.config.schema import ModelConfig, TrainerConfig, TuningConfig
from ssah_exp.data.chat import Encoded
from ssah_exp.interventions.plan import TrainingPlan, plan_training
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.attached.base import Attached
from ssah_exp.models.attached.folder import save_adapter
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import hidden_states, token_logits
from ssah_exp.training.adapters.adapter import Adapter
from ssah_exp.training.adapters.llama_adapter import LlamaAdapter
from ssah_exp.training.adapters.lora import Lora
from ssah_exp.training.adapters.prefix import Prefix
from ssah_exp.training.adapters.unit_lora import UnitLora
from ssah_exp.training.certificate import Certificate
from ssah_exp.training.loop import Run, TrainingSummary, fine_tune, supervised_run
from tests.tiny import conversations, padded, random_words, tiny_loaded

CPU = TrainerConfig(accelerator="cpu", progress=False)
MODEL = ModelConfig(name="tiny", source={}, device="cpu", end_of_turn="<|end|>")
MERGED, ATTACHED = ("lora", "unit_lora"), ("prefix", "llama_adapter")
FAMILIES = ("llama", "llama_gqa", "mistral", "qwen2", "phi3")
PROMPTED = ("llama", "llama_gqa", "llama_tied", "mistral")
CASES = [
    *((method, family) for method in ("lora", "unit_lora", "prefix") for family in FAMILIES),
    *(("llama_adapter", family) for family in PROMPTED),
]
# Rates at which a few steps teach a tiny model something.
RATES = {"lora": 0.01, "unit_lora": 0.03, "prefix": 0.3, "llama_adapter": 0.1}


def adapter_of(method: str) -> Adapter:
    """A small adapter of each method."""
    make: dict[str, Callable[[], Adapter]] = {
        "lora": lambda: Lora(rank=3, alpha=6, dropout=0.1),
        "unit_lora": lambda: UnitLora(rank=3, alpha=6),
        "prefix": lambda: Prefix(tokens=4),
        "llama_adapter": lambda: LlamaAdapter(length=4, layers=2),
    }
    return make[method]()


def given_plan(model: nn.Module, method: str) -> TrainingPlan:
    """What an arm of each method gives: chosen units for UnitLora, everything for the others.

    The units are the first two heads and two neurons of three, so that a key-value head that two
    query heads share is among them.
    """
    if method != "unit_lora":
        return plan_training(model, "none", None)
    anatomy = read_anatomy(model)
    block = [True, True, False, False, *(at % 3 != 0 for at in range(anatomy.neurons))]
    return plan_training(model, "budget", np.tile(np.array(block), anatomy.layers))


def every_other(model: nn.Module) -> NDArray[np.bool_]:
    """A set of units with some in every block."""
    chosen: NDArray[np.bool_] = np.arange(read_anatomy(model).units) % 2 == 0
    return chosen


def run_of(
    loaded: LoadedModel, method: str, examples: list[Encoded] | None = None, **more: Any
) -> Run:
    """Eight conversations, ten times; ``more`` are fields of the run, ``learning_rate`` apart."""
    rate = more.pop("learning_rate", RATES[method])
    config = TuningConfig(epochs=10, batch_size=4, learning_rate=rate)
    trainer = more.pop("trainer", CPU)
    return replace(supervised_run(loaded, examples or conversations(8), config, 0, trainer), **more)


@dataclass(frozen=True)
class Trained:
    """A model before and after a run."""

    method: str
    before: PreTrainedModel
    loaded: LoadedModel
    plan: TrainingPlan
    summary: TrainingSummary
    certificate: Certificate
    folder: Path


def trained(method: str, family: str, folder: Path) -> Trained:
    """Train and save as a pipeline does."""
    loaded = tiny_loaded(family)
    before = copy.deepcopy(loaded.model)
    adapter = adapter_of(method)
    plan = adapter.plan(loaded.model, given_plan(loaded.model, method))
    summary, certificate = fine_tune(loaded, run_of(loaded, method), plan, adapter)
    loaded.model.save_pretrained(folder)
    loaded.speech.tokenizer.save_pretrained(folder)
    save_adapter(loaded.model, folder)
    return Trained(method, before, loaded, plan, summary, certificate, folder)


def a_batch(*, left: bool = False) -> tuple[torch.Tensor, ...]:
    """Three rows of different length, ids and mask."""
    return padded([random_words(9, 1), random_words(4, 2), random_words(6, 3)], left=left)


@torch.no_grad()
def logits_of(model: PreTrainedModel) -> torch.Tensor:
    """``(tokens, vocabulary)`` over :func:`a_batch`, as training and perplexity compute them."""
    ids, mask = a_batch()
    return token_logits(model, hidden_states(model, ids, mask))[mask.bool()]


@torch.no_grad()
def randomise(attached: Attached) -> None:
    """Values that could come from training: no gate at zero."""
    generator = torch.Generator().manual_seed(5)
    for item in attached.parameters.values():
        item.copy_(torch.randn(item.shape, generator=generator))


def bits(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every weight."""
    return {name: item.detach().clone() for name, item in model.named_parameters()}


def layout(model: nn.Module) -> dict[str, type]:
    """Which module stands where."""
    return {name: type(module) for name, module in model.named_modules()}

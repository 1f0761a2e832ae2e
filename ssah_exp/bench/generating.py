"""`ssah-exp bench generate`: batches against a plain loop, and what an ablation mask costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssah_exp.bench.models import EMBEDDED, load_embedded, locate
from ssah_exp.bench.rounds import about, clock_name, measured, timed_rounds
from ssah_exp.bench.settings import GenerateSettings
from ssah_exp.evaluation.generate import Decoding, generate
from ssah_exp.evaluation.questions import Prompt
from ssah_exp.interventions.ablate import Ablation, ablated, plan_ablation
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sizes import KINDS

GENERATING_RATIOS = {"loop/batched": ("loop", "batched"), "ablated/batched": ("ablated", "batched")}
_ABLATED_SHARE = 0.01  # of the units; SCU are 1 % of their parameters
_WARM_PROMPTS, _WARM_TOKENS = 2, 4


def bench_generate(
    settings: GenerateSettings, root: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Time the arms in interleaved rounds on the embedded model.

    ``loop`` calls transformers' ``generate`` prompt by prompt; ``batched`` is this project's
    generation; ``ablated`` is the same with about 1 % of the units ablated.

    Args:
        settings: Sizes.
        root: Where the embedded model is cached.
        say: Takes a line of progress.
    """
    torch.set_num_threads(settings.threads)
    ref = locate(EMBEDDED, root)
    assert ref is not None
    loaded = _never_stopping(load_embedded(ref.location, settings.device, settings.precision))
    prompts = _prompts(settings, loaded.model.config.vocab_size)
    arms = _arms(loaded, prompts, settings)
    warm = None
    if settings.device == "cpu":  # a few tokens warm it up; a whole untimed round would be wasted
        few = replace(settings, new_tokens=min(_WARM_TOKENS, settings.new_tokens))
        warm = _arms(loaded, prompts[:_WARM_PROMPTS], few)
    seconds = timed_rounds(
        arms, settings.repeats, settings.device, say, threads=settings.threads, warm=warm
    )
    tokens = settings.prompts * settings.new_tokens
    return {
        **about("generate", asdict(settings), ref),
        "clock": clock_name(settings.device, settings.threads),
        **measured(seconds, tokens, GENERATING_RATIOS),
    }


def _arms(
    loaded: LoadedModel, prompts: list[Prompt], settings: GenerateSettings
) -> dict[str, Callable[[], object]]:
    decoding = Decoding(settings.new_tokens, settings.batch, share_prefix=False)
    ablation = _ablation(loaded, settings.seed)

    def with_ablation() -> None:
        with ablated(loaded.model, ablation):
            generate(loaded, prompts, decoding)

    return {
        "loop": lambda: _loop(loaded, prompts, settings.new_tokens),
        "batched": lambda: generate(loaded, prompts, decoding),
        "ablated": with_ablation,
    }


def _never_stopping(loaded: LoadedModel) -> LoadedModel:
    """The model with a stop token it never gives: all answers are equally long, so is the work."""
    outside = loaded.model.config.vocab_size + 1
    return replace(loaded, speech=replace(loaded.speech, stop_ids=(outside,)))


def _prompts(settings: GenerateSettings, vocabulary: int) -> list[Prompt]:
    """Prompts of 10 to 59 random tokens, about as many as requests have."""
    draw = np.random.default_rng(settings.seed)
    lengths = draw.integers(10, 60, size=settings.prompts)
    return [Prompt(tuple(draw.integers(vocabulary, size=n).tolist()), "") for n in lengths]


def _ablation(loaded: LoadedModel, seed: int) -> Ablation:
    """An ablation that sets random units to zero."""
    anatomy = loaded.anatomy
    mask = np.random.default_rng(seed).random(anatomy.units) < _ABLATED_SHARE
    fills = {kind: torch.zeros(anatomy.layers, anatomy.channels(kind)) for kind in KINDS}
    return plan_ablation(mask, anatomy, fills)


@torch.inference_mode()
def _loop(loaded: LoadedModel, prompts: list[Prompt], new_tokens: int) -> None:
    """Generate prompt by prompt: what a user would write first."""
    model: Any = loaded.model
    for prompt in prompts:
        ids = torch.tensor([prompt.ids], device=loaded.device)
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=loaded.speech.pad_id,
        )

"""What all stages share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from ssah_exp.cache import Cache
from ssah_exp.config.schema import RunConfig
from ssah_exp.data.datasets import RunData
from ssah_exp.evaluation.generate import Decoding
from ssah_exp.interventions.ablate import Ablation, ablated
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sources import ModelRef
from ssah_exp.models.tokenizer import Speech
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.stages.slot import ModelSlot


@dataclass(frozen=True)
class Shared:
    """What every stage reads.

    Attributes:
        config: The run's config.
        data: Its data sets.
        cache: Where entries lie.
        reporter: Where progress goes.
        slot: The model in memory.
        speech: The tokenizer.
        from_bos: Model -> whether it reads texts from ``<bos>``, as far as it was looked up: all
            arms that ablate one model ask, and its config takes longer to read than their losses.
    """

    config: RunConfig
    data: RunData
    cache: Cache
    reporter: Reporter
    slot: ModelSlot
    speech: Speech
    from_bos: dict[ModelRef, bool] = field(default_factory=dict, init=False, repr=False)

    def arm_key(self, ref: ModelRef, ablation: Ablation | None) -> dict[str, Any]:
        """What decides every answer of an arm, for keys of the cache."""
        return {
            "model": ref.fingerprint,
            "precision": self.config.model.precision,
            "ablation": None if ablation is None else ablation.fingerprint,
        }

    def decoding(self) -> Decoding:
        """How answers to questions are generated."""
        evaluation = self.config.evaluation
        return Decoding(evaluation.max_new_tokens, evaluation.batch_size, evaluation.share_prefix)


def maybe_ablated(loaded: LoadedModel, ablation: Ablation | None) -> AbstractContextManager[None]:
    """Keep an ablation in place as long as the block lasts; None leaves the model as it is."""
    return nullcontext() if ablation is None else ablated(loaded.model, ablation)


def system_if_used(config: RunConfig, styles: Sequence[str]) -> str | None:
    """The system prompt, if one of the styles carries it: only then does it decide anything."""
    used = any(style.endswith("_system") for style in styles)
    return config.evaluation.system_prompt if used else None

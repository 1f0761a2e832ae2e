"""`ssah-exp bench identify`: what the statistics cost beside a bare forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ssah_exp.bench.models import locate, model_of
from ssah_exp.bench.published_style import collect_as_published
from ssah_exp.bench.rounds import about, clock_name, measured, timed_rounds
from ssah_exp.bench.settings import IdentifySettings
from ssah_exp.data.loaders import Batch
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.logits import hidden_states
from ssah_exp.models.sizes import KINDS
from ssah_exp.units.collect import StatisticsCollector, captured_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IDENTIFY_RATIOS = {
    "statistics/bare": ("statistics", "bare"),
    "published/bare": ("published", "bare"),
    "published/statistics": ("published", "statistics"),
}


def bench_identify(
    settings: IdentifySettings, root: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Time the arms in interleaved rounds.

    ``bare`` runs the decoder without its LM head; ``statistics`` does the same with this project's
    hooks (``variance`` and ``flap`` from one pass); ``published`` goes block by block and sample by
    sample (:mod:`ssah_exp.bench.published_style`).

    Args:
        settings: Sizes.
        root: Where the embedded model is cached.
        say: Takes a line of progress.

    Returns:
        Plain JSON values; ``state_bytes`` is what the collector holds for one calibration set.
    """
    torch.set_num_threads(settings.threads)
    ref = locate(settings.model, root)
    model = model_of(settings, ref.location if ref else None)
    work = _Work(model, settings)
    arms = {"bare": work.bare, "statistics": work.statistics, "published": work.published}
    with torch.inference_mode():
        seconds = timed_rounds(
            arms, settings.repeats, settings.device, say, threads=settings.threads
        )
    tokens = settings.batches * settings.batch * settings.length
    return {
        **about("identify", asdict(settings), ref),
        "clock": clock_name(settings.device, settings.threads),
        **measured(seconds, tokens, IDENTIFY_RATIOS),
        "state_bytes": state_bytes(model),
    }


def state_bytes(model: PreTrainedModel) -> int:
    """Bytes a collector holds: two float64 vectors for each of two statistics, per channel."""
    anatomy = read_anatomy(model)
    return 2 * 2 * 8 * anatomy.layers * sum(map(anatomy.channels, KINDS))


class _Work:
    """The same tokens for every arm."""

    def __init__(self, model: PreTrainedModel, settings: IdentifySettings) -> None:
        self._model = model
        shape = (settings.batches, settings.batch, settings.length)
        generator = torch.Generator().manual_seed(settings.seed)
        ids = torch.randint(model.config.vocab_size, shape, generator=generator)
        counted = torch.zeros(shape[1:], dtype=torch.bool)
        counted[:, -max(2, round(settings.response_share * settings.length)) :] = True
        self._batches = [
            Batch(item, torch.ones_like(item), counted).to(torch.device(settings.device))
            for item in ids
        ]

    def bare(self) -> None:
        """Forward passes alone."""
        for batch in self._batches:
            hidden_states(self._model, batch.input_ids, batch.attention_mask)

    def statistics(self) -> None:
        """Forward passes with this project's statistics."""
        collector = StatisticsCollector(read_anatomy(self._model).layers)
        with captured_inputs(self._model, collector.sink):
            for batch in self._batches:
                collector.begin(batch)
                hidden_states(self._model, batch.input_ids, batch.attention_mask)
        collector.result()

    def published(self) -> None:
        """The published way, over the same samples."""
        samples = [row for batch in self._batches for row in batch.input_ids]
        collect_as_published(self._model, samples, self._batches[0].response_mask[0])

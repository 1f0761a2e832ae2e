"""Classes of a model as it is at the moment, for instance between two steps of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ssah_exp.config.schema import UnitsConfig
from ssah_exp.data.loaders import Batch
from ssah_exp.models.anatomy import blocks, output_column_norms, read_anatomy
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import hidden_states
from ssah_exp.models.modes import evaluating
from ssah_exp.models.sizes import KINDS
from ssah_exp.units.classes import classify
from ssah_exp.units.collect import StatisticsCollector, captured_inputs, checked_statistics
from ssah_exp.units.identify import SETS, Identification
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.statistics import ChannelStatistics


@torch.no_grad()
def classes_now(
    loaded: LoadedModel, batches: Mapping[str, Sequence[Batch]], units: UnitsConfig
) -> NDArray[np.uint8]:
    """Score and classify with the weights as they are; one forward pass over the batches.

    Nothing is left behind: no hook, no gradient, no changed mode; no random number is drawn.

    Args:
        loaded: The model; it may be in training.
        batches: ``safety`` and ``utility`` calibration batches.
        units: Which tokens count, statistic, budgets.

    Returns:
        ``(units,)`` uint8, :class:`~ssah_exp.units.classes.UnitClass` values.

    Raises:
        UnitError: NaN or infinite activations, or fewer than two counted tokens.
        ModelError: NaN or infinite weights.
    """
    model, index = loaded.model, UnitIndex(read_anatomy(loaded.model))
    norms = {kind: output_column_norms(model, kind) for kind in KINDS}
    pooled: dict[str, ChannelStatistics] = {}
    with evaluating(model):
        for name in SETS:
            collector = StatisticsCollector(len(blocks(model)), units.tokens)
            with captured_inputs(model, collector.sink):
                for batch in batches[name]:
                    here = batch.to(loaded.device)
                    collector.begin(here)
                    hidden_states(model, here.input_ids, here.attention_mask)
            pooled[name] = checked_statistics(collector.result(), name)
    found = Identification(index.anatomy, pooled["safety"], pooled["utility"], norms)
    safety, utility = found.scores(units, units.statistic)
    return classify(safety, utility, index.parameters, units.budgets)

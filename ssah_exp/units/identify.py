"""Identification from end to end: both calibration sets through one model, statistics to disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ssah_exp import ranks
from ssah_exp.config.schema import TrainerConfig, UnitsConfig
from ssah_exp.data.batching import like_lengths
from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import CalibrationData
from ssah_exp.errors import UnitError
from ssah_exp.lightning import StaysInPlace, ended_by_signals, make_trainer
from ssah_exp.models.anatomy import check_head, output_column_norms
from ssah_exp.models.device import move
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sizes import KINDS, Anatomy, Kind
from ssah_exp.units.collect import CalibrationModule, UnitStatistics
from ssah_exp.units.examples import ExampleMoments
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.scores import unit_norms, unit_scores, unit_shifts
from ssah_exp.units.statistics import ChannelStatistics
from ssah_exp.units.unitmap import ScoreProvenance, UnitMap

SETS = ("safety", "utility")


@dataclass(frozen=True)
class Identification:
    """Everything that classes and ablations need, without the model itself.

    Attributes:
        anatomy: Sizes of the model.
        safety: Statistics over the safety calibration set.
        utility: Statistics over the utility calibration set.
        column_norms: By kind ``(layers, channels)`` float64: squared column norms of the output
            projections.
        examples: By set, each example's own moments, if they were kept; never written to disk.
    """

    anatomy: Anatomy
    safety: ChannelStatistics
    utility: ChannelStatistics
    column_norms: dict[Kind, torch.Tensor]
    examples: dict[str, ExampleMoments] | None = None

    def unit_map(self, config: UnitsConfig, provenance: ScoreProvenance) -> UnitMap:
        """Score and classify; pure arithmetic on what is stored."""
        scores = self.scores(config, config.statistic)
        norms, index, square = self.column_norms, UnitIndex(self.anatomy), config.square_attention
        return UnitMap.from_scores(
            self.anatomy,
            provenance,
            config.budgets,
            *scores,
            shift=unit_shifts(self.safety, self.utility, norms, index, square_attention=square),
            norm=unit_norms(norms, index, square_attention=square),
        )

    def scores(self, config: UnitsConfig, statistic: str) -> NDArray[np.float64]:
        """``(2, units)`` z_S and z_U from all examples, by ``variance`` or ``flap``."""
        index = UnitIndex(self.anatomy)
        return np.stack(
            [
                unit_scores(
                    item,
                    self.weighting(config),
                    index,
                    statistic=statistic,
                    square_attention=config.square_attention,
                )
                for item in (self.safety, self.utility)
            ]
        )

    def weighting(self, config: UnitsConfig) -> dict[Kind, torch.Tensor]:
        """By kind ``(layers, channels)`` float64: what dispersions are multiplied by.

        The squared column norms, or ones where scores are to be :attr:`UnitsConfig.unweighted`.
        """
        if not config.unweighted:
            return self.column_norms
        return {kind: torch.ones_like(norms) for kind, norms in self.column_norms.items()}

    def moments(self) -> dict[str, ExampleMoments]:
        """By set, each example's own moments.

        Raises:
            UnitError: They were not kept.
        """
        if self.examples is None:
            raise UnitError("No example's moments were kept: only their pool is known.")
        return self.examples

    def save(self, folder: Path) -> None:
        """Write one safetensors file per set and one for the weights' norms."""
        self.safety.save(folder / "safety.safetensors")
        self.utility.save(folder / "utility.safetensors")
        norms = {str(kind): norm.contiguous() for kind, norm in self.column_norms.items()}
        save_file(norms, folder / "column_norms.safetensors")

    @classmethod
    def load(cls, folder: Path, anatomy: Anatomy) -> Identification:
        """Read what :meth:`save` wrote.

        Raises:
            UnitError: A file is missing or damaged.
        """
        try:
            tensors = load_file(folder / "column_norms.safetensors")
            norms: dict[Kind, torch.Tensor] = {kind: tensors[kind] for kind in KINDS}
        except (OSError, SafetensorError, KeyError) as error:
            raise UnitError(f"Column norms in {folder} cannot be read: {error}") from error
        return cls(
            anatomy,
            ChannelStatistics.load(folder / "safety.safetensors"),
            ChannelStatistics.load(folder / "utility.safetensors"),
            norms,
        )


def collect(
    loaded: LoadedModel,
    sets: Mapping[str, Sequence[Encoded]],
    units: UnitsConfig,
    trainer_config: TrainerConfig,
    *,
    keep_examples: bool = False,
) -> UnitStatistics:
    """Run sets of conversations through a model, one pass each, dealt out over all ranks.

    Args:
        loaded: The model.
        sets: By name, in the order they are run.
        units: Which tokens count; batch size.
        trainer_config: Accelerator and progress bars.
        keep_examples: Keep every example's moments in memory.

    Returns:
        The collector, which on rank 0 has each set's statistics by name.

    Raises:
        SystemExit: The process was asked to end; it ends after the batch at hand.
    """
    device = loaded.device
    batches = {name: like_lengths(items, units.batch_size) for name, items in sets.items()}
    statistics = UnitStatistics(batches, units.tokens, keep_examples=keep_examples)
    ordered = [(items, batches[name]) for name, items in sets.items()]
    data = CalibrationData(loaded.speech.pad_id, units.batch_size, ordered)
    stays = StaysInPlace(device) if loaded.placed else None
    trainer = make_trainer(trainer_config, [statistics], device=device, strategy=stays)
    try:
        with ended_by_signals():
            trainer.predict(CalibrationModule(loaded), datamodule=data, return_predictions=False)
    finally:  # Lightning leaves the model in main memory, after an error, too
        if not loaded.placed:
            move(loaded.model, device)
    return statistics


def identify(
    loaded: LoadedModel,
    calibration: Mapping[str, Sequence[Encoded]],
    units: UnitsConfig,
    trainer_config: TrainerConfig,
    *,
    keep_examples: bool = False,
) -> Identification:
    """Collect statistics over both calibration sets, one pass each, in a single process.

    Args:
        loaded: The aligned model.
        calibration: ``safety`` and ``utility`` conversations.
        units: Which tokens count; batch size.
        trainer_config: Accelerator and progress bars.
        keep_examples: Keep every example's moments in memory for
            :mod:`ssah_exp.units.stability`; what :meth:`Identification.save` writes is the same.

    Raises:
        UnitError: NaN or infinite activations, naming the layer, or fewer than two counted tokens.
        ModelError: NaN or infinite weights of output projections, naming the layer, or behind the
            last block.
    """
    sets = {name: calibration[name] for name in SETS}
    statistics = collect(loaded, sets, units, trainer_config, keep_examples=keep_examples)
    found = identification_of(loaded, statistics)
    assert found is not None, "rank 0 alone collects"
    return found


def identification_of(loaded: LoadedModel, statistics: UnitStatistics) -> Identification | None:
    """What :func:`collect` found over both calibration sets, and the weights' norms.

    All ranks call it, since all of a model that is split hold its weights.

    Returns:
        None on ranks other than 0.

    Raises:
        UnitError: As :func:`identify`.
        ModelError: As :func:`identify`.
    """
    norms = {kind: output_column_norms(loaded.model, kind) for kind in KINDS}
    check_head(loaded.model)  # hours before answers and losses, which would show it
    if not ranks.first():
        return None
    pooled = {name: statistics.result(name) for name in SETS}
    kept = {name: item for name in SETS if (item := statistics.examples(name)) is not None}
    return Identification(loaded.anatomy, pooled["safety"], pooled["utility"], norms, kept or None)

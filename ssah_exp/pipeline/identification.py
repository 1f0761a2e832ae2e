"""From a model to its UnitMap, with how far the two statistics agree."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ssah_exp.config.schema import UnitsConfig
from ssah_exp.data.datasets import RunData
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages import Stages
from ssah_exp.units.identify import Identification
from ssah_exp.units.summary import rank_agreement
from ssah_exp.units.unitmap import Provenance, UnitMap


@dataclass(frozen=True)
class Identified:
    """A model's units.

    Attributes:
        statistics: Per-channel statistics over both calibration sets.
        units: Scores and classes.
        agreement: How far the statistic not in use, from the same pass, agrees.
    """

    statistics: Identification
    units: UnitMap
    agreement: dict[str, float]

    def counts(self) -> dict[str, dict[str, int]]:
        """Counted tokens and examples per calibration set."""
        sets = {"safety": self.statistics.safety, "utility": self.statistics.utility}
        return {
            name: {"tokens": item.tokens, "examples": item.examples} for name, item in sets.items()
        }


def identify_units(model: ModelRef, stages: Stages) -> Identified:
    """Collect statistics, unless cached, and classify."""
    statistics, entry = stages.statistics(model)
    stages.reporter.done("statistics", entry)
    config, data = stages.config.units, stages.data
    units = unit_map_of(config, model, data, statistics)
    other = "flap" if config.statistic == "variance" else "variance"
    twin = unit_map_of(replace(config, statistic=other), model, data, statistics)
    return Identified(statistics, units, rank_agreement(units, twin))


def unit_map_of(
    units: UnitsConfig, model: ModelRef, data: RunData, statistics: Identification
) -> UnitMap:
    """Score and classify, with where the scores come from; no forward pass."""
    origin = Provenance(
        model=model.identifier,
        revision=model.revision,
        fingerprint=model.fingerprint,
        statistic=units.statistic,
        calibration={
            name: data.fingerprints[f"{name}_calibration"] for name in ("safety", "utility")
        },
        settings={
            "tokens": units.tokens,
            "max_length": units.max_length,
            "prompt_style": units.prompt_style,
            "square_attention": units.square_attention,
        },
    )
    return statistics.unit_map(units, origin)

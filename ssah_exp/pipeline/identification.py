"""From a model to its UnitMap, with how far the two statistics agree."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ssah_exp.config.schema import RunConfig
from ssah_exp.data.datasets import RunData
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages import Stages, system_if_used
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
    agreement: dict[str, float | None]

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
    config, data = stages.config, stages.data
    units = unit_map_of(config, model, data, statistics)
    other = "flap" if config.units.statistic == "variance" else "variance"
    twin_config = replace(config, units=replace(config.units, statistic=other))
    twin = unit_map_of(twin_config, model, data, statistics)
    return Identified(statistics, units, rank_agreement(units, twin))


def unit_map_of(
    config: RunConfig, model: ModelRef, data: RunData, statistics: Identification
) -> UnitMap:
    """Score and classify, with where the scores come from; no forward pass."""
    units = config.units
    system = system_if_used(config, [units.prompt_style])
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
            **({} if system is None else {"system_prompt": system}),
        },
    )
    return statistics.unit_map(units, origin)

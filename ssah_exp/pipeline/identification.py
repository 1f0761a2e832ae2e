"""From a model to its UnitMap, and how far another way to score agrees with it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ssah_exp.config.build import build
from ssah_exp.config.schema import RunConfig, Target, UnitsConfig
from ssah_exp.data.datasets import RunData
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages import Stages, system_if_used
from ssah_exp.units.identify import SETS, Identification
from ssah_exp.units.scoring import Scoring, scores_of
from ssah_exp.units.summary import rank_agreement
from ssah_exp.units.unitmap import ScoreProvenance, UnitMap


@dataclass(frozen=True)
class Identified:
    """A model's units.

    Attributes:
        statistics: Per-channel statistics over both calibration sets.
        units: Scores and classes.
        agreement: By :func:`rank_agreement`, how far ``units`` agree with the paper's score under
            the statistic not in use, from the same pass. With ``units.scoring`` set: with the
            paper's score under the statistic in the config.
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
    """Collect statistics, unless cached, score and classify.

    Raises:
        SsahError: Activations are not finite, or the class that ``units.scoring`` names gives
            something else than one finite number per unit.
    """
    statistics, entry = stages.statistics(model)
    stages.reporter.done("statistics", entry)
    config, data = stages.config, stages.data
    units = unit_map_of(config, model, data, statistics)
    if config.units.scoring is not None:
        scored = _scored_otherwise(model, stages, config.units.scoring, units)
        return Identified(statistics, scored, rank_agreement(scored, units))
    other = "flap" if config.units.statistic == "variance" else "variance"
    twin_config = replace(config, units=replace(config.units, statistic=other))
    twin = unit_map_of(twin_config, model, data, statistics)
    return Identified(statistics, units, rank_agreement(units, twin))


def check_scoring(units: UnitsConfig) -> None:
    """Build what ``units.scoring`` names, if anything, to refuse a wrong one before hours of work.

    Raises:
        ConfigError: It is no scoring, or its arguments are wrong.
    """
    if units.scoring is not None:
        build(units.scoring, "units.scoring", Scoring)


def _scored_otherwise(model: ModelRef, stages: Stages, node: Target, paper: UnitMap) -> UnitMap:
    """The UnitMap by ``node``'s scoring; ``paper`` is the same model's by the paper's score."""
    scoring = build(node, "units.scoring", Scoring)
    importance, entry = stages.scores(model, scoring)
    stages.reporter.done("scores", entry)
    safety, utility = (scores_of(importance[name], paper.index) for name in SETS)
    settings = {**paper.provenance.settings, "scoring": node}
    del settings["square_attention"]
    name = type(scoring).__name__
    origin = replace(paper.provenance, statistic=name, settings=settings)
    return UnitMap.from_scores(
        paper.anatomy, origin, paper.budgets, safety, utility, shift=paper.shift, norm=paper.norm
    )


def unit_map_of(
    config: RunConfig, model: ModelRef, data: RunData, statistics: Identification
) -> UnitMap:
    """Score and classify without a forward pass, and note where the scores come from."""
    units = config.units
    system = system_if_used(config, [units.prompt_style])
    origin = ScoreProvenance(
        model=model.identifier,
        revision=model.revision,
        fingerprint=model.fingerprint,
        statistic=units.statistic,
        calibration={name: data.fingerprints[f"{name}_calibration"] for name in SETS},
        settings={
            "tokens": units.tokens,
            "max_length": units.max_length,
            "prompt_style": units.prompt_style,
            "square_attention": units.square_attention,
            **({"unweighted": True} if units.unweighted else {}),  # earlier maps do not say
            **({} if system is None else {"system_prompt": system}),
        },
    )
    return statistics.unit_map(units, origin)

"""Range checks of the atlas's settings."""

from __future__ import annotations

from collections.abc import Iterable

from ssah_exp.config.checks.judges import too_short
from ssah_exp.config.ranges import at_least, choice
from ssah_exp.config.schema import AtlasConfig, CalibrationConfig, EvaluationConfig
from ssah_exp.config.vocabulary import TOKENS

# Names of the rows that every atlas has anyway.
TAKEN = ("run", "flap", "random")


def atlas_problems(atlas: AtlasConfig, evaluation: EvaluationConfig) -> Iterable[str]:
    """What is wrong with the settings to compare.

    Args:
        atlas: The settings.
        evaluation: Its primary judge says which of the model's own answers are refusals.
    """
    if atlas.pool != 0:
        yield from at_least("atlas.pool", atlas.pool, 32)
    for name, setting in atlas.settings.items():
        yield from _setting(name, setting)
        if setting.own_refusals:
            yield from _too_short(name, setting, evaluation)


def _too_short(
    name: str, setting: CalibrationConfig, evaluation: EvaluationConfig
) -> Iterable[str]:
    judge = evaluation.judges.get(evaluation.primary_judge, {})
    key, tokens = f"atlas.settings.{name}.answer_tokens", setting.answer_tokens
    if tokens is None:
        key, tokens = "evaluation.max_new_tokens", evaluation.max_new_tokens
    yield from too_short(evaluation.primary_judge, judge, key, tokens)


def _setting(name: str, setting: CalibrationConfig) -> Iterable[str]:
    key = f"atlas.settings.{name}"
    if name in TAKEN:
        yield f"{key}: every atlas has a row '{name}' of its own; rename it."
    yield from choice(f"{key}.tokens", setting.tokens, TOKENS)
    yield from at_least(f"{key}.seed", setting.seed, 0)
    if setting.own_refusals and setting.safety is None:
        yield f"{key}.own_refusals needs requests; give {key}.safety."
    yield from at_least(f"{key}.answer_tokens", setting.answer_tokens, 1)
    if setting.answer_tokens is not None and not setting.own_refusals:
        yield f"{key}.answer_tokens is about the answers of {key}.own_refusals."
    given = (setting.safety, setting.utility, setting.tokens, setting.seed)
    if all(item is None for item in given):
        yield f"{key} changes nothing; give safety, utility, tokens or seed."

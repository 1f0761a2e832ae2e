"""Range checks of the atlas' settings."""

from __future__ import annotations

from collections.abc import Iterable

from ssah_exp.config.ranges import at_least, choice
from ssah_exp.config.schema import AtlasConfig, CalibrationConfig

TOKENS = ("response", "all")
# The rows that every atlas has by itself.
TAKEN = ("run", "flap", "random")


def atlas_problems(atlas: AtlasConfig) -> Iterable[str]:
    """What is wrong with the settings to compare."""
    if atlas.pool != 0:
        yield from at_least("atlas.pool", atlas.pool, 32)
    for name, setting in atlas.settings.items():
        yield from _setting(name, setting)


def _setting(name: str, setting: CalibrationConfig) -> Iterable[str]:
    key = f"atlas.settings.{name}"
    if name in TAKEN:
        yield f"{key}: every atlas has a row '{name}' of its own; rename it."
    if setting.tokens is not None:
        yield from choice(f"{key}.tokens", setting.tokens, TOKENS)
    if setting.seed is not None:
        yield from at_least(f"{key}.seed", setting.seed, 0)
    if setting.own_refusals and setting.safety is None:
        yield f"{key}.own_refusals needs requests; give {key}.safety."
    if setting.answer_tokens is not None:
        yield from at_least(f"{key}.answer_tokens", setting.answer_tokens, 1)
        if not setting.own_refusals:
            yield f"{key}.answer_tokens is about the answers of {key}.own_refusals."
    given = (setting.safety, setting.utility, setting.tokens, setting.seed)
    if all(item is None for item in given):
        yield f"{key} changes nothing; give safety, utility, tokens or seed."

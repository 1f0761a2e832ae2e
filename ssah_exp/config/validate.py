"""Range checks: every problem of a config is listed at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ssah_exp.config.schema import (
    AblationConfig,
    AlignmentConfig,
    BudgetsConfig,
    EvaluationConfig,
    RunConfig,
    UnitsConfig,
)
from ssah_exp.errors import ConfigError, did_you_mean

ARTEFACTS = ("table1_pruning",)
PRECISIONS = ("float32", "bfloat16", "float16")
STATISTICS = ("variance", "flap")
TOKENS = ("response", "all")
CLASSES = ("SCU", "UCU", "CU", "RU")
FILLS = ("safety", "utility", "pooled", "zero")
CONTROLS = ("random", "matched")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
STYLES = ("raw", "raw_system", "chat", "chat_system")


def validate(config: RunConfig) -> None:
    """Check every value.

    Raises:
        ConfigError: Lists each problem on a line of its own.
    """
    problems = [
        *_choice("artefact", config.artefact, ARTEFACTS),
        *_choice("model.precision", config.model.precision, PRECISIONS),
        *_at_least("seed", config.seed, 0),
        *_choice("trainer.accelerator", config.trainer.accelerator, ACCELERATORS),
        *_at_least("trainer.devices", config.trainer.devices, 1),
        *_alignment(config.alignment),
        *_units(config.units),
        *_ablation(config.ablation),
        *_evaluation(config.evaluation),
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _alignment(alignment: AlignmentConfig) -> Iterable[str]:
    if not alignment.enabled:
        return
    yield from _choices("alignment.prompt_styles", alignment.prompt_styles, STYLES)
    yield from _at_least("alignment.epochs", alignment.epochs, 1)
    yield from _at_least("alignment.batch_size", alignment.batch_size, 1)
    yield from _at_least("alignment.max_length", alignment.max_length, 8)
    yield from _within("alignment.learning_rate", alignment.learning_rate, 0, 1, open_low=True)
    yield from _within("alignment.warmup_share", alignment.warmup_share, 0, 1)
    yield from _at_least("alignment.weight_decay", alignment.weight_decay, 0)
    yield from _within("alignment.gradient_clip", alignment.gradient_clip, 0, 1e6)


def _units(units: UnitsConfig) -> Iterable[str]:
    yield from _choice("units.statistic", units.statistic, STATISTICS)
    yield from _choice("units.tokens", units.tokens, TOKENS)
    yield from _choice("units.prompt_style", units.prompt_style, STYLES)
    yield from _at_least("units.samples", units.samples, 2)
    yield from _at_least("units.min_samples", units.min_samples, 2)
    yield from _at_least("units.batch_size", units.batch_size, 1)
    yield from _at_least("units.max_length", units.max_length, 2)
    if units.min_samples > units.samples:
        yield f"units.min_samples={units.min_samples} is above units.samples={units.samples}."
    yield from _budgets(units.budgets)


def _budgets(budgets: BudgetsConfig) -> Iterable[str]:
    shares = {"scu": budgets.scu, "ucu": budgets.ucu, "ru": budgets.ru}
    for name, share in shares.items():
        yield from _within(f"units.budgets.{name}", share, 0, 1)
    total = sum(shares.values())
    if total > 1:
        listed = " + ".join(f"{name} {share:g}" for name, share in shares.items())
        yield f"units.budgets: {listed} = {total:g}; together they may not be above 1."
    yield from _choice("units.budgets.unit", budgets.unit, ("params", "units"))
    yield from _choice("units.budgets.overlap", budgets.overlap, ("overwrite", "refill"))


def _ablation(ablation: AblationConfig) -> Iterable[str]:
    yield from _choices("ablation.classes", ablation.classes, CLASSES, empty=True)
    yield from _choices("ablation.fills", ablation.fills, FILLS)
    yield from _choices("ablation.fills_of", ablation.fills_of, CLASSES, empty=True)
    if ablation.primary_fill not in ablation.fills:
        yield (
            f"ablation.primary_fill={ablation.primary_fill} is not one of ablation.fills "
            f"({', '.join(ablation.fills)})."
        )
    controls = ablation.controls
    yield from _choices("ablation.controls.kinds", controls.kinds, CONTROLS, empty=True)
    yield from _choices("ablation.controls.of", controls.of, CLASSES, empty=True)
    yield from _at_least("ablation.controls.draws", controls.draws, 1)
    yield from _at_least("ablation.controls.match_pool", controls.match_pool, 1)
    orphans = [name for name in controls.of if name not in ablation.classes]
    if orphans:
        yield f"ablation.controls.of names {', '.join(orphans)}, which ablation.classes does not."


def _evaluation(evaluation: EvaluationConfig) -> Iterable[str]:
    yield from _choices("evaluation.harmful_styles", evaluation.harmful_styles, STYLES)
    yield from _choice("evaluation.benign_style", evaluation.benign_style, STYLES)
    yield from _at_least("evaluation.max_new_tokens", evaluation.max_new_tokens, 1)
    yield from _at_least("evaluation.batch_size", evaluation.batch_size, 1)
    yield from _within("evaluation.confidence", evaluation.confidence, 0.5, 0.9999)
    yield from _at_least("evaluation.bootstrap_resamples", evaluation.bootstrap_resamples, 100)
    yield from _choice("evaluation.primary_judge", evaluation.primary_judge, evaluation.judges)
    yield from _at_least("evaluation.perplexity.window", evaluation.perplexity.window, 2)
    yield from _at_least("evaluation.perplexity.batch_size", evaluation.perplexity.batch_size, 1)
    for name, judge in evaluation.judges.items():
        words = judge.get("min_words", 0)
        # An English word is about 1.3 tokens: shorter answers would all count as refusals.
        if words and evaluation.max_new_tokens < 2 * words:
            yield (
                f"Judge '{name}' counts an answer of under {words} words as a refusal, and "
                f"evaluation.max_new_tokens={evaluation.max_new_tokens} cuts most answers that "
                f"short; set it to at least {2 * words} or take another judge."
            )


def _choice(key: str, value: str, allowed: Collection[str]) -> Iterable[str]:
    if value not in allowed:
        yield f"{key}={value}.{did_you_mean(str(value), allowed)}"


def _choices(
    key: str, values: list[str], allowed: Collection[str], *, empty: bool = False
) -> Iterable[str]:
    if not values and not empty:
        yield f"{key} is empty. Allowed: {', '.join(allowed)}."
    if len(set(values)) != len(values):
        yield f"{key} names one value twice: {', '.join(values)}."
    for value in values:
        yield from _choice(key, value, allowed)


def _at_least(key: str, value: float, low: float) -> Iterable[str]:
    if not value >= low:
        yield f"{key}={value:g} is below {low:g}."


def _within(
    key: str, value: float, low: float, high: float, *, open_low: bool = False
) -> Iterable[str]:
    inside = (value > low if open_low else value >= low) and value <= high
    if not inside:
        bracket = "(" if open_low else "["
        yield f"{key}={value:g} lies outside {bracket}{low:g}, {high:g}]."

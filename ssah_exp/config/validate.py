"""Range checks: every problem of a config is listed at once."""

from __future__ import annotations

from collections.abc import Iterable

from ssah_exp.config.artefacts import ARTEFACTS, ATTACKED, PROBE, TRAINING_ARTEFACTS
from ssah_exp.config.checks.atlas import atlas_problems
from ssah_exp.config.checks.attacks import attack_problems
from ssah_exp.config.checks.judges import judge_problems, mt_bench_problems, too_short
from ssah_exp.config.checks.probe import probe_problems
from ssah_exp.config.checks.processes import processes_problems
from ssah_exp.config.checks.training import training_problems, tuning_problems
from ssah_exp.config.facts import ENGINES, TRANSFORMERS, styles_of
from ssah_exp.config.ranges import at_least, choice, choices, named, refuse, within
from ssah_exp.config.schema import (
    AblationConfig,
    BudgetsConfig,
    EvaluationConfig,
    PerplexityConfig,
    RunConfig,
    UnitsConfig,
    VllmConfig,
)
from ssah_exp.config.utility import utility_problems
from ssah_exp.config.vocabulary import (
    CLASSES,
    CONTROLS,
    FILLS,
    MODELS,
    PRECISIONS,
    STATISTICS,
    STYLES,
    TOKENS,
)

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")  # the last is refused, with the reason


def validate(config: RunConfig) -> None:
    """Check every value.

    Raises:
        ConfigError: Lists each problem on a line of its own.
    """
    problems = [
        *choice("artefact", config.artefact, ARTEFACTS),
        *choice("model.precision", config.model.precision, PRECISIONS),
        *_half(config),
        *_chat_template(config.model.chat_template),
        *_root(config.paths.root),
        *_seed(config.seed),
        *choice("trainer.accelerator", config.trainer.accelerator, ACCELERATORS),
        *processes_problems(config, trains=config.artefact in TRAINING_ARTEFACTS),
        *(tuning_problems("alignment", config.alignment) if config.alignment.enabled else ()),
        *_units(config.units),
        *_ablation(config.ablation, config.units.budgets),
        *_evaluation(config.evaluation),
        *_system_prompt(config),
        *attack_problems(config.evaluation, attacked=config.artefact in ATTACKED),
        *utility_problems(config.utility),
        *mt_bench_problems(config.mt_bench),
        *atlas_problems(config.atlas, config.evaluation),
        *(training_problems(config) if config.artefact in TRAINING_ARTEFACTS else ()),
        *(probe_problems(config) if config.artefact == PROBE else ()),
    ]
    refuse(problems)


def _root(root: str) -> Iterable[str]:
    if not root.strip():  # e.g. from a shell variable that is not set
        yield "paths.root is empty: runs would lie about the folder you are in; give a folder."


def _seed(seed: int) -> Iterable[str]:
    yield from at_least("seed", seed, 0)
    if seed >= 2**32:
        yield f"seed={seed} is above {2**32 - 1}, the largest that numpy and Lightning take."


def _system_prompt(config: RunConfig) -> Iterable[str]:
    putting = next((style for style in styles_of(config) if style.endswith("_system")), None)
    if putting is not None and not config.evaluation.system_prompt.strip():
        yield f"evaluation.system_prompt is empty, and the style {putting} puts it."


def _half(config: RunConfig) -> Iterable[str]:
    if config.model.precision != "float16":
        return
    if config.alignment.enabled or config.artefact in TRAINING_ARTEFACTS:
        yield (
            "model.precision=float16 loses small gradients, since nothing here scales the loss: "
            "train in bfloat16 or float32, or take alignment=none where nothing else trains."
        )


def _chat_template(template: str | None) -> Iterable[str]:
    if template is not None and "{{" not in template:
        yield (
            f"model.chat_template={template!r} puts no message anywhere: it is the template's "
            "Jinja text. A file of conf/chat_template is chosen by chat_template=NAME."
        )


def _units(units: UnitsConfig) -> Iterable[str]:
    yield from choice("units.statistic", units.statistic, STATISTICS)
    yield from choice("units.tokens", units.tokens, TOKENS)
    yield from choice("units.prompt_style", units.prompt_style, STYLES)
    yield from at_least("units.samples", units.samples, 2)
    yield from at_least("units.min_samples", units.min_samples, 2)
    yield from at_least("units.batch_size", units.batch_size, 1)
    yield from at_least("units.max_length", units.max_length, 2)
    if units.min_samples > units.samples:
        yield f"units.min_samples={units.min_samples} is above units.samples={units.samples}."
    if units.unweighted and units.scoring is not None:
        yield "units.unweighted is a setting of the paper's score, and units.scoring gives another."
    yield from _budgets(units.budgets)


def _budgets(budgets: BudgetsConfig) -> Iterable[str]:
    shares = {"scu": budgets.scu, "ucu": budgets.ucu, "ru": budgets.ru}
    for name, share in shares.items():
        yield from within(f"units.budgets.{name}", share, 0, 1)
    total = sum(shares.values())
    if total > 1 + 1e-9:  # 0.33 + 0.56 + 0.11 is above 1 in binary
        listed = " + ".join(f"{name} {share:g}" for name, share in shares.items())
        yield f"units.budgets: {listed} = {total:g}; together they may not be above 1."
    yield from choice("units.budgets.unit", budgets.unit, ("params", "units"))
    yield from choice("units.budgets.overlap", budgets.overlap, ("overwrite", "refill"))


def _ablation(ablation: AblationConfig, budgets: BudgetsConfig) -> Iterable[str]:
    pruned = [*CLASSES, *ablation.sets]
    yield from choices("ablation.classes", ablation.classes, CLASSES, empty=True)
    yield from _sets(ablation)
    yield from choices("ablation.fills", ablation.fills, FILLS)
    yield from choices("ablation.fills_of", ablation.fills_of, pruned, empty=True)
    if ablation.primary_fill not in ablation.fills:
        yield (
            f"ablation.primary_fill={ablation.primary_fill} is not one of ablation.fills "
            f"({', '.join(ablation.fills)})."
        )
    controls = ablation.controls
    yield from choices("ablation.controls.kinds", controls.kinds, CONTROLS, empty=True)
    yield from choices("ablation.controls.of", controls.of, pruned, empty=True)
    yield from at_least("ablation.controls.draws", controls.draws, 1)
    yield from at_least("ablation.controls.match_pool", controls.match_pool, 1)
    orphans = [name for name in controls.of if name in CLASSES and name not in ablation.classes]
    if orphans:
        yield f"ablation.controls.of names {', '.join(orphans)}, which ablation.classes does not."
    left = 1 - budgets.scu - budgets.ucu - budgets.ru
    if "CU" in controls.of and left > 0.5 and not controls.overlap:
        yield (
            f"ablation.controls.of names CU, which by units.budgets holds some {left:.0%} of all "
            f"{budgets.unit}: the others are too few to draw a control from. Take CU out, or give "
            "ablation.controls.overlap=true, so that a control may share units with CU."
        )
    yield from choices("ablation.controls.exclude", controls.exclude, CLASSES, empty=True)
    for key in ("overlap", "exclude"):
        if getattr(controls, key) and not (controls.of and controls.kinds):
            yield f"ablation.controls.{key} is about controls, and ablation.controls asks for none."


def _sets(ablation: AblationConfig) -> Iterable[str]:
    """Check the names of sets, which must differ from those of classes and of dense models."""
    for name in ablation.sets:
        yield from named(f"ablation.sets.{name}", name)
        if name in (*CLASSES, *MODELS):
            yield f"ablation.sets.{name}: that is the name of a class or a model; give another."


def _window(window: int | str) -> Iterable[str]:
    if isinstance(window, int):
        yield from at_least("evaluation.perplexity.window", window, 2)
    elif window != "max":
        yield f"evaluation.perplexity.window={window} is neither a number of tokens nor 'max'."


def _text(perplexity: PerplexityConfig) -> Iterable[str]:
    """Check limits of the text; a negative number of tokens would cut that many off its end."""
    key, window = "evaluation.perplexity", perplexity.window
    yield from at_least(f"{key}.batch_size", perplexity.batch_size, 1)
    least = window if isinstance(window, int) else 2
    yield from at_least(f"{key}.max_tokens", perplexity.max_tokens, least)


def _vllm(evaluation: EvaluationConfig) -> Iterable[str]:
    given, key = evaluation.vllm, "evaluation.vllm"
    if evaluation.engine == TRANSFORMERS and given != VllmConfig():
        yield f"{key} is given, and evaluation.engine={TRANSFORMERS} reads none of it."
    share = given.gpu_memory_utilization
    yield from within(f"{key}.gpu_memory_utilization", share, 0, 1, open_low=True)
    yield from at_least(f"{key}.tensor_parallel_size", given.tensor_parallel_size, 1)
    least = evaluation.max_new_tokens + 1
    yield from at_least(f"{key}.max_model_len", given.max_model_len, least)


def _evaluation(evaluation: EvaluationConfig) -> Iterable[str]:
    yield from choices("evaluation.harmful_styles", evaluation.harmful_styles, STYLES)
    yield from choice("evaluation.benign_style", evaluation.benign_style, STYLES)
    yield from choice("evaluation.engine", evaluation.engine, ENGINES)
    yield from _vllm(evaluation)
    yield from at_least("evaluation.max_new_tokens", evaluation.max_new_tokens, 1)
    yield from at_least("evaluation.batch_size", evaluation.batch_size, 1)
    yield from within("evaluation.confidence", evaluation.confidence, 0.5, 0.9999)
    yield from at_least("evaluation.bootstrap_resamples", evaluation.bootstrap_resamples, 100)
    yield from choice("evaluation.primary_judge", evaluation.primary_judge, evaluation.judges)
    yield from _window(evaluation.perplexity.window)
    yield from _text(evaluation.perplexity)
    yield from judge_problems(evaluation.judges)
    for name, judge in evaluation.judges.items():
        yield from too_short(name, judge, "evaluation.max_new_tokens", evaluation.max_new_tokens)

"""Ranges and combinations: every problem of a config is listed at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ssah_exp.config.schema import RunConfig, Target
from ssah_exp.config.validate import validate
from ssah_exp.errors import ConfigError
from tests.config.composing import config_of


@pytest.fixture
def config() -> RunConfig:
    return config_of()


def problems_of(config: RunConfig) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(config)
    return str(caught.value).splitlines()


def test_the_shipped_config_has_no_problem(config: RunConfig) -> None:
    validate(config)


def test_every_problem_is_listed_at_once(config: RunConfig) -> None:
    config.artefact = "table1_prunning"
    config.model.precision = "float31"
    config.alignment.epochs = 0
    config.units.statistic = "varience"
    config.ablation.controls.draws = 0
    config.evaluation.confidence = 1.0
    problems = problems_of(config)
    keys = [line.partition("=")[0] for line in problems]
    assert keys == [
        "artefact",
        "model.precision",
        "alignment.epochs",
        "units.statistic",
        "ablation.controls.draws",
        "evaluation.confidence",
    ]
    assert "Did you mean 'table1_pruning'?" in problems[0]
    assert "Did you mean 'float32'?" in problems[1]
    assert "Did you mean 'variance'?" in problems[3]


@pytest.mark.parametrize("root", ["", " "])
def test_a_root_of_nothing_is_not_the_folder_at_hand(config: RunConfig, root: str) -> None:
    config.paths.root = root
    (problem,) = problems_of(config)
    assert problem.startswith("paths.root is empty")


def test_the_name_of_a_chat_template_is_not_its_text(config: RunConfig) -> None:
    """It would be put in place of every conversation."""
    config.model.chat_template = "alpaca"
    (problem,) = problems_of(config)
    assert problem.startswith("model.chat_template='alpaca' puts no message anywhere")
    assert problem.endswith("chosen by chat_template=NAME.")
    config.model.chat_template = config_of("chat_template=alpaca").model.chat_template
    validate(config)


@pytest.mark.parametrize("style", ["raw_system", "chat_system"])
def test_an_empty_system_prompt_is_put_by_no_style(config: RunConfig, style: str) -> None:
    config.evaluation.system_prompt = ""
    config.evaluation.harmful_styles, config.evaluation.benign_style = ["raw", "chat"], "chat"
    validate(config)
    config.evaluation.harmful_styles = ["raw", style]
    (problem,) = problems_of(config)
    assert problem == f"evaluation.system_prompt is empty, and the style {style} puts it."


@pytest.mark.parametrize("key", ["alignment", "units", "training", "attack", "probe"])
def test_an_empty_system_prompt_is_put_by_no_style_outside_the_evaluation(
    config: RunConfig, key: str
) -> None:
    config.evaluation.system_prompt = ""
    config.evaluation.harmful_styles, config.evaluation.benign_style = ["raw"], "chat"
    validate(config)
    if key == "alignment":
        config.alignment.prompt_styles = ["chat", "chat_system"]
    elif key == "units":
        config.units.prompt_style = "chat_system"
    elif key == "training":
        config.training.prompt_styles = ["chat_system"]
    elif key == "attack":
        prefill = config_of("+attack@evaluation.attacks.a=prefill").evaluation.attacks["a"]
        config.evaluation.attacks["a"] = replace(prefill, styles=["chat_system"])
    else:
        config = config_of("experiment=probe", "probe.style=chat_system")
        config.evaluation.system_prompt = ""
    (problem,) = problems_of(config)
    assert problem == "evaluation.system_prompt is empty, and the style chat_system puts it."


def test_float16_is_for_models_that_nothing_trains(config: RunConfig) -> None:
    config.model.precision = "float16"
    with pytest.raises(ConfigError, match="float16 loses small gradients"):
        validate(config)
    config.alignment.enabled = False
    validate(config)
    config.artefact = "scu_only"
    with pytest.raises(ConfigError, match="float16 loses small gradients"):
        validate(config)


def test_a_seed_that_training_could_not_take_is_refused_at_once(config: RunConfig) -> None:
    config.seed = 2**32 - 1
    validate(config)
    config.seed += 1
    assert problems_of(config) == [
        "seed=4294967296 is above 4294967295, the largest that numpy and Lightning take."
    ]


@pytest.mark.parametrize("name", ["scu", "ucu", "ru"])
@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_a_budget_outside_0_to_1_is_refused(config: RunConfig, name: str, share: float) -> None:
    setattr(config.units.budgets, name, share)
    assert any(f"units.budgets.{name}={share:g}" in line for line in problems_of(config))


def test_budgets_that_sum_to_one_but_for_rounding_are_fine(config: RunConfig) -> None:
    budgets = config.units.budgets
    budgets.scu, budgets.ucu, budgets.ru = 0.33, 0.56, 0.11
    assert 0.33 + 0.56 + 0.11 > 1  # sum() rounds less from Python 3.12 on
    validate(config)


@pytest.mark.parametrize(
    ("window", "tokens", "least"), [(256, -5, 256), (256, 255, 256), ("max", 0, 2)]
)
def test_a_text_of_less_than_a_window_is_refused_before_anything_runs(
    config: RunConfig, window: int | str, tokens: int, least: int
) -> None:
    config.evaluation.perplexity.window = window
    config.evaluation.perplexity.max_tokens = tokens
    wanted = f"evaluation.perplexity.max_tokens={tokens} is below {least}."
    assert problems_of(config) == [wanted]


@pytest.mark.parametrize(("ru", "fine"), [(0.4, True), (0.41, False)])
def test_budgets_may_sum_to_one_and_no_more(config: RunConfig, ru: float, fine: bool) -> None:
    budgets = config.units.budgets
    budgets.scu, budgets.ucu, budgets.ru = 0.25, 0.35, ru
    if fine:
        validate(config)
    else:
        assert problems_of(config) == [
            "units.budgets: scu 0.25 + ucu 0.35 + ru 0.41 = 1.01; together they may not be above 1."
        ]


@pytest.mark.parametrize(("tokens", "fine"), [(40, True), (39, False)])
def test_a_length_rule_needs_room_for_answers(config: RunConfig, tokens: int, fine: bool) -> None:
    config.evaluation.max_new_tokens = tokens
    if fine:
        validate(config)
    else:
        (problem,) = problems_of(config)
        assert "Judge 'wei2024' counts an answer of under 20 words as a refusal" in problem
        assert "at least 40" in problem


def test_the_length_rule_does_not_touch_judges_without_one(config: RunConfig) -> None:
    del config.evaluation.judges["wei2024"]
    config.evaluation.primary_judge = "zou2023"
    config.evaluation.max_new_tokens = 1
    validate(config)


@pytest.mark.parametrize(
    ("phrases", "found"),
    [
        ([], "is empty, and min_words and min_distinct are 0"),
        (["I cannot", ""], "holds ''"),
        ([" "], "holds ' '"),
    ],
)
def test_a_keyword_judge_of_one_verdict_is_refused(
    config: RunConfig, phrases: list[str], found: str
) -> None:
    judge = config.evaluation.judges["zou2023"]
    judge["phrases"] = phrases
    (problem,) = problems_of(config)
    assert problem.startswith(f"evaluation.judges.zou2023.phrases {found}")
    judge["min_words"] = 1
    if not phrases:
        validate(config)
    else:
        assert problems_of(config) == [problem]


def test_the_primary_judge_must_be_among_the_judges(config: RunConfig) -> None:
    config.evaluation.primary_judge = "zou2032"
    (problem,) = problems_of(config)
    assert "Did you mean 'zou2023'?" in problem


def test_more_calibration_asked_for_than_needed_for_use(config: RunConfig) -> None:
    config.units.samples, config.units.min_samples = 4, 5
    assert problems_of(config) == ["units.min_samples=5 is above units.samples=4."]


def test_another_score_has_no_weights_to_leave_out(config: RunConfig) -> None:
    config.units.unweighted = True
    validate(config)
    config.units.scoring = {"_target_": "ssah_exp.units.scoring.Snip"}
    assert problems_of(config) == [
        "units.unweighted is a setting of the paper's score, and units.scoring gives another."
    ]


def test_a_class_of_most_units_has_no_control(config: RunConfig) -> None:
    """Known before the model is aligned, and so said before."""
    config.ablation.controls.of = ["SCU", "CU"]
    (problem,) = problems_of(config)
    assert "names CU, which by units.budgets holds some 79% of all params: the others" in problem
    config.ablation.controls.overlap = True
    validate(config)
    config.ablation.controls.overlap = False
    config.units.budgets.ucu = config.units.budgets.ru = 0.3
    validate(config)


@pytest.mark.parametrize("key", ["kinds", "of"])
def test_overlap_without_controls_is_refused(config: RunConfig, key: str) -> None:
    config.ablation.controls.overlap = True
    setattr(config.ablation.controls, key, [])
    (problem,) = problems_of(config)
    assert problem.startswith("ablation.controls.overlap is about controls")


def test_classes_that_no_control_draws_from_are_classes_and_of_controls(config: RunConfig) -> None:
    controls = config.ablation.controls
    controls.exclude = ["SCU", "CU"]
    validate(config)
    controls.exclude = ["SCUU"]
    (problem,) = problems_of(config)
    assert problem.startswith("ablation.controls.exclude=SCUU. Did you mean 'SCU'?")
    controls.exclude, controls.kinds = ["SCU"], []
    (problem,) = problems_of(config)
    assert problem.startswith("ablation.controls.exclude is about controls")


def test_ablation_lists_hang_together(config: RunConfig) -> None:
    config.ablation.fills = ["zero", "zero"]
    config.ablation.classes = ["SCU"]
    problems = problems_of(config)
    assert "ablation.fills names one value twice: zero, zero." in problems
    assert "ablation.primary_fill=pooled is not one of ablation.fills (zero, zero)." in problems
    assert "ablation.controls.of names RU, which ablation.classes does not." in problems
    assert len(problems) == 3


HEADS: Target = {"_target_": "ssah_exp.units.selectors.OfKind", "kind": "head"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("SCU", "ablation.sets.SCU: that is the name of a class or a model; give another."),
        ("aligned", "ablation.sets.aligned: that is the name of a class or a model"),
        (
            "a/b",
            "ablation.sets.a/b: a name has letters, digits, '_' and '-' only, "
            "and at most 64 of them.",
        ),
    ],
)
def test_a_set_has_a_name_of_its_own(config: RunConfig, name: str, problem: str) -> None:
    config.ablation.sets = {name: HEADS}
    assert any(line.startswith(problem) for line in problems_of(config))


def test_sets_may_have_fills_and_controls_as_classes_do(config: RunConfig) -> None:
    config.ablation.sets = {"heads": HEADS}
    config.ablation.fills_of, config.ablation.controls.of = ["heads", "SCU"], ["heads"]
    config.ablation.controls.overlap = True
    validate(config)
    config.ablation.controls.of = ["haeds"]
    (problem,) = problems_of(config)
    assert problem.startswith("ablation.controls.of=haeds. Did you mean 'heads'?")


def test_a_callback_has_a_name_that_may_stand_in_a_metric(config: RunConfig) -> None:
    other = config_of("experiment=table4_alignment_budget")
    other.training.callbacks = {"a.b": {"_target_": "lab.Norms"}}
    assert problems_of(other) == [
        "training.callbacks.a.b: a name has letters, digits, '_' and '-' only, "
        "and at most 64 of them."
    ]


def test_an_empty_list_of_styles_is_refused(config: RunConfig) -> None:
    config.evaluation.harmful_styles = []
    (problem,) = problems_of(config)
    assert problem.startswith("evaluation.harmful_styles is empty. Allowed: raw, raw_system")


def test_no_controls_are_allowed(config: RunConfig) -> None:
    config.ablation.controls.kinds = []
    validate(config)


def test_alignment_values_do_not_matter_when_it_is_off(config: RunConfig) -> None:
    config.alignment.enabled, config.alignment.epochs = False, 0
    validate(config)


def test_seed_0_is_a_seed_and_a_negative_one_is_not(config: RunConfig) -> None:
    config.seed = 0
    validate(config)
    config.seed = -1
    assert problems_of(config) == ["seed=-1 is below 0."]


@pytest.mark.parametrize(
    ("judge", "key"),
    [
        ("hexphi_endpoint", "base_url"),
        ("strongreject_endpoint", "model"),
        ("llama_guard3", "weights.path"),
        ("harmbench", "weights.path"),
    ],
)
@pytest.mark.parametrize("value", [None, ""])
def test_a_judge_without_what_only_a_user_knows_is_refused(
    judge: str, key: str, value: str | None
) -> None:
    config = config_of(f"+judge@evaluation.judges.extra={judge}")
    node = config.evaluation.judges["extra"]
    first, _, inner = key.partition(".")
    (node[first] if inner else node)[inner or first] = value
    where = f"evaluation.judges.extra.{key}"
    assert problems_of(config) == [f"{where} is missing; give it as {where}=VALUE."]
    del node[first]
    assert len(problems_of(config)) == 1

"""Every complaint about a training table, and all of them at once."""

from __future__ import annotations

import pytest

from ssah_exp.config.artefacts import TRAINING_ARTEFACTS
from ssah_exp.config.schema import ArmConfig, OthersConfig, RunConfig, Target
from ssah_exp.config.validate import validate
from ssah_exp.errors import ConfigError
from tests.config.composing import config_of

SCU: Target = {"_target_": "ssah_exp.units.selectors.OfClass", "names": ["SCU"]}
LORA: Target = {"_target_": "ssah_exp.training.adapters.lora.Lora", "rank": 1, "alpha": 1}
PREFIX: Target = {"_target_": "ssah_exp.training.adapters.prefix.Prefix", "tokens": 2}


@pytest.fixture
def config() -> RunConfig:
    return config_of("experiment=table2_freezing")


def problems_of(config: RunConfig) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(config)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("artefact", TRAINING_ARTEFACTS)
def test_the_shipped_experiments_have_no_problem(artefact: str) -> None:
    config = config_of(f"experiment={artefact}")
    assert config.artefact == artefact
    assert config.training.arms
    validate(config)


VALUES = [
    ("start", "alinged", "training.start=alinged. Did you mean 'aligned'? Allowed:"),
    ("data", "finetun", "training.data=finetun. Did you mean 'finetune'?"),
    ("objective", "spo", "training.objective=spo. Did you mean 'dpo'? Allowed: dpo, sft."),
    ("optimizer", "adam", "training.optimizer=adam. Did you mean 'adamw'?"),
    ("dpo_beta", 0.0, "training.dpo_beta=0 is below 1e-06."),
    ("accumulate", 0, "training.accumulate=0 is below 1."),
    ("loss_examples", 0, "training.loss_examples=0 is below 1."),
    ("check_every", 0, "training.check_every=0 is below 1."),
    ("control_draws", 0, "training.control_draws=0 is below 1."),
    ("match_pool", 0, "training.match_pool=0 is below 1."),
    ("prompt_styles", [], "training.prompt_styles is empty. Allowed: raw, raw_system"),
    ("prompt_styles", ["raw", "raw"], "training.prompt_styles names one value twice: raw, raw."),
    ("prompt_styles", ["chatt"], "training.prompt_styles=chatt. Did you mean 'chat'?"),
    ("epochs", 0, "training.epochs=0 is below 1."),
    ("batch_size", 0, "training.batch_size=0 is below 1."),
    ("max_length", 7, "training.max_length=7 is below 8."),
    ("learning_rate", 0.0, "training.learning_rate=0 lies outside (0, 1]."),
    ("learning_rate", float("nan"), "training.learning_rate=nan lies outside (0, 1]."),
    ("warmup_share", 1.1, "training.warmup_share=1.1 lies outside [0, 1]."),
    ("warmup_share", 1.0, "training.warmup_share=1: the rate would rise to the end and never fall"),
    ("weight_decay", -0.1, "training.weight_decay=-0.1 is below 0."),
    ("weight_decay", float("inf"), "training.weight_decay=inf is not finite."),
    ("dpo_beta", float("nan"), "training.dpo_beta=nan is below 1e-06."),
    ("gradient_clip", -1.0, "training.gradient_clip=-1 lies outside [0, 1e+06]."),
]


@pytest.mark.parametrize(("key", "value", "message"), VALUES)
def test_values_out_of_range_are_refused(
    config: RunConfig, key: str, value: object, message: str
) -> None:
    assert hasattr(config.training, key)
    setattr(config.training, key, value)
    (problem,) = problems_of(config)
    assert problem.startswith(message)


def test_the_same_values_matter_to_no_other_artefact() -> None:
    config = config_of("experiment=quickstart")
    for key, value, _ in VALUES:
        setattr(config.training, key, value)
    config.training.arms = {}
    config.data.finetune = []
    validate(config)


def test_nothing_to_train_is_refused(config: RunConfig) -> None:
    config.training.arms = {}
    assert problems_of(config) == ["training.arms is empty: there is nothing to train."]


def test_fine_tuning_needs_its_data(config: RunConfig) -> None:
    config.data.finetune = []
    (problem,) = problems_of(config)
    assert problem.startswith("data.finetune is empty and training.data=finetune needs it")
    config.training.data = "alignment"
    validate(config)


def test_pairs_are_for_dpo(config: RunConfig) -> None:
    config.data.preferences = SCU
    (problem,) = problems_of(config)
    assert problem == ("data.preferences is given, but training.objective=sft would not read it.")
    config.training.objective = "dpo"
    for arm in config.training.arms.values():
        arm.match_loss = None
    validate(config)


def test_dpo_on_a_model_that_comes_aligned_needs_pairs(config: RunConfig) -> None:
    """Its own refusals would be what is unlearned."""
    config.training.objective = "dpo"
    for arm in config.training.arms.values():
        arm.match_loss = None
    validate(config)
    config.alignment.enabled = False
    (problem,) = problems_of(config)
    assert problem.startswith("training.objective=dpo rejects the unaligned model's answers")
    config.data.preferences = SCU
    validate(config)
    config.data.preferences, config.training.start = None, "unaligned"
    validate(config)


# What is wrong with one arm, and what is said of it; other arms are full and frozen.
ARMS = [
    (ArmConfig("frozen", SCU), "policy=frozen. Did you mean 'freeze'? Allowed:"),
    (ArmConfig("freeze", SCU, ["randm"]), "controls=randm. Did you mean 'random'?"),
    (ArmConfig("freeze", SCU, ["random"] * 2), "controls names one value twice: random, random."),
    (ArmConfig(epochs=0), "epochs=0 is below 1."),
    (ArmConfig(learning_rate=0.0), "learning_rate=0 lies outside (0, 1]."),
    (ArmConfig(learning_rate=2.0), "learning_rate=2 lies outside (0, 1]."),
    (ArmConfig(first="full", first_epochs=0), "first_epochs=0 is below 1."),
    (ArmConfig("freeze"), "policy=freeze needs units; give training.arms.odd.select."),
    (ArmConfig("budget"), "policy=budget needs units; give training.arms.odd.select."),
    (ArmConfig("none", SCU), "select is given, but policy none trains everything and would"),
    (
        ArmConfig("budget", SCU, ["random"], adapter=PREFIX),
        "select is given, but Prefix changes no weight of any unit and would ignore it.",
    ),
    (ArmConfig(controls=["random"]), "controls needs a set of units to stand beside; there is no"),
    (ArmConfig("freeze", SCU, overlap=True), "overlap is about controls, and there are no"),
    (
        ArmConfig(adapter=LORA, others=OthersConfig(norms=False)),
        "others is given, but an adapter trains none of them.",
    ),
    (ArmConfig(match_loss="ful"), "match_loss=ful. Did you mean 'full'? Allowed: frozen, full."),
    (ArmConfig(match_loss="odd"), "match_loss=odd. Allowed: frozen, full."),
    (ArmConfig(match_loss="late"), "match_loss=late. Allowed: frozen, full."),
    (
        ArmConfig(first="ful"),
        "first=ful. Did you mean 'full'? Allowed: frozen, full, late, staged.",
    ),
    (ArmConfig(first="odd"), "first=odd. Allowed: frozen, full, late, staged."),
    (
        ArmConfig(first_epochs=2),
        "first_epochs=2 is given, but there is no training.arms.odd.first.",
    ),
    (
        ArmConfig("freeze", SCU, ["matched", "random"], first="frozen"),
        "controls: matched would start as frozen's control of that kind; training.arms.frozen.",
    ),
    (
        ArmConfig("budget", SCU, ["random"], first="frozen"),
        "controls: an arm with policy=budget and a first phase takes no controls, since a control "
        "of odd would freeze what the control of frozen trained.",
    ),
    (
        ArmConfig("freeze", SCU, first="staged"),
        "first=staged has a first phase itself, which would be left out.",
    ),
]


def with_arm(config: RunConfig, arm: ArmConfig, name: str = "odd") -> RunConfig:
    config.training.arms = {
        "full": ArmConfig(),
        "frozen": ArmConfig("freeze", SCU, ["random"]),
        name: arm,
        "late": ArmConfig(),
        "staged": ArmConfig("freeze", SCU, first="frozen"),
    }
    return config


@pytest.mark.parametrize(("arm", "message"), ARMS, ids=[message[:30] for _, message in ARMS])
def test_what_is_wrong_with_an_arm_is_said(config: RunConfig, arm: ArmConfig, message: str) -> None:
    (problem,) = problems_of(with_arm(config, arm))
    rest = problem.removeprefix("training.arms.odd.")
    assert rest != problem
    assert rest.startswith(message)


@pytest.mark.parametrize(
    "arm",
    [
        ArmConfig("freeze", SCU, ["matched", "random"], overlap=True, epochs=1),
        ArmConfig("freeze", SCU, ["random"], first="frozen", first_epochs=3),
        ArmConfig("budget", SCU, others=OthersConfig(norms=True), match_loss="frozen"),
        ArmConfig("budget", SCU, adapter=LORA, learning_rate=1.0, first="late"),
    ],
)
def test_arms_that_hang_together_pass(config: RunConfig, arm: ArmConfig) -> None:
    validate(with_arm(config, arm))


def test_a_prefix_and_recomputing_are_refused_before_hours_of_other_arms(config: RunConfig) -> None:
    config.training.gradient_checkpointing = True
    validate(with_arm(config, ArmConfig(adapter=LORA)))
    (problem,) = problems_of(with_arm(config, ArmConfig(adapter=PREFIX)))
    assert problem.startswith("training.arms.odd.adapter: a prefix lies in the cache, which")


def test_a_model_carries_the_adapter_of_one_phase(config: RunConfig) -> None:
    for adapter, wrong in ((LORA, False), (PREFIX, True)):
        with_arm(config, ArmConfig(adapter=adapter, first="late"))
        config.training.arms["late"] = ArmConfig(adapter=PREFIX)
        if wrong:
            (problem,) = problems_of(config)
            assert problem.startswith("training.arms.odd.first=late leaves its adapter beside the")
        else:
            validate(config)


@pytest.mark.parametrize("name", ["aligned", "unaligned"])
def test_an_arm_may_not_be_called_like_the_models_before_training(
    config: RunConfig, name: str
) -> None:
    (problem,) = problems_of(with_arm(config, ArmConfig(), name))
    assert problem.startswith(f"training.arms.{name}: {name} is what the table calls a model")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a/b", "a name has letters, digits"),
        ("", "a name has letters, digits"),
        ("a" * 65, "a name has letters, digits, '_' and '-' only, and at most 64 of them."),
        ("frozen-random-0", "the files of a control are called so"),
    ],
)
def test_no_arm_takes_the_files_of_another(config: RunConfig, name: str, message: str) -> None:
    (problem,) = problems_of(with_arm(config, ArmConfig(policy="none"), name))
    assert problem.startswith(f"training.arms.{name}: {message}")


def test_losses_of_dpo_are_not_matched(config: RunConfig) -> None:
    config.training.objective = "dpo"
    (problem,) = problems_of(with_arm(config, ArmConfig(match_loss="full")))
    assert problem == (
        "training.arms.odd.match_loss compares losses of SFT; training.objective=dpo has another."
    )


def test_the_first_arm_has_nothing_to_match(config: RunConfig) -> None:
    config.training.arms = {"only": ArmConfig(match_loss="only")}
    assert problems_of(config) == ["training.arms.only.match_loss=only. Allowed: nothing."]


def test_every_problem_is_listed_at_once_in_the_order_of_the_config(config: RunConfig) -> None:
    config.units.statistic = "varience"
    config.training.start = "base"
    config.training.epochs = 0
    config.data.finetune = []
    config = with_arm(config, ArmConfig("none", SCU, ["randm"], first="full", first_epochs=0))
    config.training.arms["late"] = ArmConfig("budget", match_loss="later")
    keys = [
        "units.statistic=",
        "training.epochs=",
        "training.start=",
        "data.finetune ",
        "training.arms.odd.controls=",
        "training.arms.odd.first_epochs=",
        "training.arms.odd.select ",
        "training.arms.odd.controls: ",
        "training.arms.late.policy=",
        "training.arms.late.match_loss=",
    ]
    problems = problems_of(config)
    assert len(problems) == len(keys)
    assert all(line.startswith(key) for key, line in zip(keys, problems, strict=True)), problems

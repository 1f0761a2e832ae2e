"""Misspelt names: the message says what was given and names the nearest match."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ssah_exp.config.hydra_errors import explain_hydra_error, refuse_mistakes
from ssah_exp.config.paths import root_of
from ssah_exp.errors import ConfigError, SsahWarning, did_you_mean
from tests.config.composing import composed, config_of, parse


def message_for(*overrides: str) -> str:
    """What a user reads; composing and parsing fail in different libraries."""
    try:
        config_of(*overrides)
    except ConfigError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException) as error:
        return explain_hydra_error(error)
    raise AssertionError(f"{overrides} was accepted")


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("model=smollm2_135", "Unknown model 'smollm2_135'. Did you mean 'smollm2_135m'?"),
        ("data=bundeld", "Unknown data 'bundeld'. Did you mean 'bundled'?"),
        ("experiment=quikstart", "Unknown experiment 'quikstart'. Did you mean 'quickstart'?"),
        ("sed=1", "Unknown key 'sed'. Did you mean 'seed'?"),
        ("modell=local", "Unknown key 'modell'. Did you mean 'model'?"),
        ("+unit.samples=4", "Unknown key 'unit'. Did you mean 'units'?"),
        ("units.samplse=4", "Unknown key 'units.samplse'. Did you mean 'samples'?"),
        ("units.budget.scu=0.1", "Unknown key 'units.budget.scu'. Did you mean 'budgets'?"),
        ("unit.budgets.scu=0.1", "Unknown key 'unit.budgets.scu'. Did you mean 'units'?"),
        ("units.budgets.scuu=0.1", "Unknown key 'units.budgets.scuu'. Did you mean 'scu'?"),
        ("+units.budgets.scuu=0.1", "Unknown key 'units.budgets.scuu'. Did you mean 'scu'?"),
        ("units.statistic=varianc", "units.statistic=varianc. Did you mean 'variance'?"),
    ],
)
def test_the_nearest_match_is_named(override: str, nearest: str) -> None:
    message = message_for(override)
    assert message.startswith(nearest)
    assert "Allowed: " in message


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("units.budgets.scu=0.0x5", "units.budgets.scu=0.0x5 is not a number."),
        ("seed=one", "seed=one is not a whole number."),
        ("seed=1.5", "seed=1.5 is not a whole number."),
        ("units.budgets.scu=null", "units.budgets.scu=null is not a number."),
        ("seed=null", "seed=null is not a whole number."),
        ("model.trust_remote_code=maybe", "model.trust_remote_code=maybe is not true or false."),
    ],
)
def test_a_value_of_the_wrong_type_is_one_line(override: str, told: str) -> None:
    assert message_for(override) == told


@pytest.mark.parametrize(
    ("override", "more"),
    [
        ("seed=0,1,2", "; a list is given as 'seed=[0,1,2]'."),
        ("experiment=quickstart,table1_small", "."),
        ("seed=range(0,3)", "."),
    ],
)
def test_several_values_without_m_are_told_of_it(override: str, more: str) -> None:
    assert message_for(override) == (
        f"{override} has several values: 'ssah-exp run -m' runs each{more}"
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("attack=pair", "give +attack@evaluation.attacks.NAME=OPTION."),
        ("judge=harmbench", "give +judge@evaluation.judges.NAME=OPTION."),
        ("adapter=lora", "give +adapter@training.arms.ARM.adapter=OPTION."),
        (
            "selector=ru",
            "give +selector@training.arms.ARM.select=OPTION, "
            "or +selector@ablation.sets.NAME=OPTION.",
        ),
        ("size=small", "give experiment=paper_smollm2 size=OPTION."),
        (
            "selector@training.arms.mine.select=ru",
            "give +selector@training.arms.mine.select=OPTION to add one.",
        ),
    ],
)
def test_a_group_without_a_place_of_its_own_says_where_it_goes(override: str, told: str) -> None:
    """Hydra finds no match in the defaults list, and the group itself was called unknown."""
    message = message_for(override)
    assert message.endswith(told)
    assert "Did you mean" not in message


def test_what_is_allowed_is_listed_and_private_files_are_not() -> None:
    allowed = message_for("evaluation=_table1").partition("Allowed: ")[2]
    assert {"quick", "table1"} <= set(allowed.strip(".").split(", "))
    assert "_" not in allowed


def test_a_wrong_type_names_its_key() -> None:
    assert "units.samples" in message_for("units.samples=many")
    assert "object_type" not in message_for("units.samples=many")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("quickstart", "'quickstart' is no override: missing EQUAL at '<EOF>'. Give KEY=VALUE"),
        ("seed=-1,", "'seed=-1,' is no override: mismatched input '<EOF>'. Give "),
        ("units=[a", "'units=[a' is no override: "),
        (
            "tracker.target.mod=online",
            "The config has no 'tracker.target.mod'; if it is an option there, add it by "
            "+tracker.target.mod=online",
        ),
        ("+experiment=quickstart", "experiment has a value already; give experiment=NAME without"),
        (
            "evaluation.harmful_styles=raw",
            "evaluation.harmful_styles=raw is no list; give it in brackets: "
            "'evaluation.harmful_styles=[raw]'.",
        ),
        (
            "hydra.launcher.workers=2",
            "hydra.launcher.workers is an option of hydra/launcher=local, which must be given, too",
        ),
        ("hydra.launcher.gpus=2", "hydra.launcher.gpus is an option of hydra/launcher=local and "),
        ("hydra.sweep.dirr=x", "Hydra has no option 'hydra.sweep.dirr'."),
        (
            "hydra.launcher.sbatch.exclude=node7",
            "Give +hydra.launcher.sbatch.exclude=VALUE for an option of sbatch.",
        ),
        ("hydra.launcher.worker=2", "Unknown key 'hydra.launcher.worker'. Did you mean 'workers'?"),
        ("hydra.sweeper.fil=a", "Unknown key 'hydra.sweeper.fil'. Did you mean 'file'?"),
    ],
)
def test_a_beginners_mistake_is_told_with_what_to_write_instead(override: str, said: str) -> None:
    assert message_for(override).startswith(said)


@pytest.mark.parametrize(
    ("override", "instead"),
    [
        ("model.end_of_turn=<|im_end|>", """'model.end_of_turn="<|im_end|>"'."""),
        ("data.text.prompt={instruction}", """'data.text.prompt="{instruction}"'."""),
        ("data.name='a <b> 'c''", r"""'data.name="a <b> '"'"'c'"'"'"'."""),
        ("data.name='it's'", r"""'data.name="it'"'"'s"'."""),
        ('data.name="a <b> "c""', r"""'data.name="a <b> \"c\""'."""),
    ],
)
def test_text_with_signs_of_its_own_is_told_its_quotes(override: str, instead: str) -> None:
    """Hydra's grammar wants quotes beside those that the shell takes."""
    message = message_for(override)
    assert message.endswith(f"Put a value with special characters in both quotes: {instead}")
    assert "Lexer" not in message
    (word,) = shlex.split(instead.removesuffix("."))
    parsed = OverridesParser.create().parse_override(word)
    assert str(parsed.value()).strip("'\"") in override


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (
            ["--experiment", "quickstart"],
            "--experiment is no option of run; give it as experiment=",
        ),
        (["-m", "--seed=1,2"], "--seed is no option of run; give it as seed=1,2."),
        (["-units.samples", "4"], "-units.samples is no option of run; give it as units.samples=4"),
        (["--model"], "--model is no option of run; give it as model=VALUE."),
    ],
)
def test_a_key_given_as_an_option_is_told_how_to_give_it(words: list[str], instead: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(instead)}"):
        refuse_mistakes(words)
    refuse_mistakes(["-m", "--cfg", "job", "experiment=quickstart", "seed=0,1", "--multirun"])


@pytest.mark.parametrize(
    ("words", "key", "values"),
    [
        (["experiment=quickstart", "experiment=probe"], "experiment", ("quickstart", "probe")),
        (["seed=0", "experiment=probe", "+seed=1"], "seed", ("0", "1")),
    ],
)
def test_of_two_values_of_a_key_the_one_that_counts_is_told(
    words: list[str], key: str, values: tuple[str, str]
) -> None:
    """Hydra takes the last and says nothing."""
    one, other = values
    told = f"^{key}={other} replaces {key}={one}; -m {key}={one},{other} runs both"
    with pytest.warns(SsahWarning, match=told):
        refuse_mistakes(words)


@pytest.mark.parametrize(
    "words",
    [
        ["seed=0", "seed=0", "~atlas.settings.a", "~atlas.settings.b", "--multirun"],
        ["+judge@evaluation.judges.a=labels", "+judge@evaluation.judges.b=labels"],
    ],
)
def test_keys_of_one_value_are_not_told(words: list[str], recwarn: pytest.WarningsRecorder) -> None:
    refuse_mistakes(words)
    assert not recwarn.list


@pytest.mark.parametrize("word", ["@foo=1", "=1"])
def test_a_value_without_a_key_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=f"^{word} names no key; give KEY=VALUE"):
        refuse_mistakes(["experiment=quickstart", word])


def test_a_root_that_a_variable_sets_to_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSAH_ROOT", " ")
    with pytest.raises(ConfigError, match="SSAH_ROOT is empty"):
        root_of(None)
    assert root_of("here") == Path("here")
    monkeypatch.delenv("SSAH_ROOT")
    assert root_of(None) == Path("outputs")


def test_every_missing_value_is_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(composed("model=local", "data=paper_files"))
    keys = [line.split()[0] for line in str(caught.value).splitlines()]
    assert keys == ["model.name", "model.source.path", "model.end_of_turn", "data.root"]


@pytest.mark.parametrize("key", ["training.optimizer=adamw_8bit", "training.accumulate=2"])
def test_a_key_that_no_file_names_is_not_called_unknown(key: str) -> None:
    name, _, value = key.partition("=")
    assert message_for("experiment=table2_freezing", key) == (
        f"{name} is at its default; give +{name}=VALUE to set it."
    )
    config = config_of("experiment=table2_freezing", f"+{key}")
    assert str(getattr(config.training, name.removeprefix("training."))) == value


def test_no_hint_where_nothing_is_near() -> None:
    assert did_you_mean("zzz", ["alpha", "beta"]) == " Allowed: alpha, beta."
    assert did_you_mean("x", []) == " Allowed: nothing."


def test_a_name_in_other_letters_is_nearer_than_one_of_other_letters() -> None:
    """`scu/pooled` is no slip for `RU/pooled`."""
    assert did_you_mean("scu/pooled", ["RU/pooled", "SCU/pooled"]).startswith(
        " Did you mean 'SCU/pooled'?"
    )

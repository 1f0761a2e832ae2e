"""DPO from end to end: against the unaligned model's answers, from the aligned model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from ssah_exp.config.schema import ArmConfig, ModelConfig, OthersConfig, RunConfig
from ssah_exp.data.chat import encode_pairs
from ssah_exp.data.preferences import Pair, encode_preferences
from ssah_exp.data.sources import Example, FileSource
from ssah_exp.errors import UnitError
from ssah_exp.evaluation.questions import read_completions
from ssah_exp.models.load import load_model
from ssah_exp.pipeline import training_set
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.training_table import run_training_table
from ssah_exp.reporting.training_table import render_training
from ssah_exp.training.matching import mean_response_loss
from tests.pipeline.tiny_run import SIZES, computed, of_class, run, silent, training_config
from tests.pipeline.trained import arm_of, entry_of, training_of

BETA, EPOCHS = 0.3, 3
MODEL = ModelConfig(name="tiny", source={}, device="cpu", end_of_turn="<|end|>")


def dpo_config(place: Path) -> RunConfig:
    arms = {"full": ArmConfig(), "budget": ArmConfig("budget", of_class("UCU", "CU"))}
    config = training_config(place, arms, "others")
    training = config.training
    training.data, training.objective, training.dpo_beta = "alignment", "dpo", BETA
    training.epochs, training.learning_rate = EPOCHS, 2e-3
    return config


@pytest.fixture(scope="module")
def preferred(place: Path) -> Finished:
    return run(dpo_config(place))


def given_pairs(place: Path) -> dict[str, Any]:
    """A file of two pairs, as a config names it."""
    path = place / "pairs.csv"
    path.write_text("q,c,r\nw40 w41,w42 w43,w44\nw41 w41,w42,w44 w45\n", encoding="utf-8")
    return {
        "_target_": "ssah_exp.data.preferences.FilePairs",
        "path": str(path),
        "prompt": "{q}",
        "chosen": "{c}",
        "rejected": "{r}",
    }


def folders(done: Finished, place: Path) -> dict[str, Path]:
    """Where the models of the run lie."""
    return {
        "unaligned": place / "model",
        "aligned": entry_of(done, "align"),
        "full": entry_of(done, "train full"),
    }


def answered(folder: Path, prompt: str, style: str = "chat") -> str:
    """What transformers' own greedy search says to one prompt."""
    speech = load_model(str(folder), MODEL).speech
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    text = prompt if style == "raw" else f"<s><|user|> {prompt} <|end|><|assistant|> "
    ids = speech.tokenizer(text, add_special_tokens=style == "raw", return_tensors="pt").input_ids
    out = model.generate(
        ids, max_new_tokens=5, do_sample=False, eos_token_id=list(speech.stop_ids), pad_token_id=0
    )
    return str(speech.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def rejected(done: Finished) -> list[tuple[str, str]]:
    """Prompts and answers to reject."""
    path = entry_of(done, "answers to reject") / "completions.jsonl"
    return [(item.question.prompt, item.text) for item in read_completions(path)]


def test_rejected_answers_are_the_unaligned_models_own(preferred: Finished, place: Path) -> None:
    given = rejected(preferred)
    assert len(given) == SIZES["alignment"]
    where = folders(preferred, place)
    for prompt, answer in given:
        assert answer == answered(where["unaligned"], prompt)
    aligned = [answered(where["aligned"], prompt) for prompt, _ in given]
    assert aligned != [answer for _, answer in given], "else the test says nothing"


def test_all_arms_share_what_their_start_thinks_of_the_pairs(
    preferred: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third, too, which goes on from what the first of them became."""
    config = dpo_config(place)
    config.training.epochs += 1  # nothing of it is cached
    config.training.arms["second"] = ArmConfig(first="full")
    asked: list[int] = []
    whole = training_set.with_reference

    def counted(loaded: Any, pairs: Any, batch_size: int) -> Any:
        asked.append(len(pairs))
        return whole(loaded, pairs, batch_size)

    monkeypatch.setattr(training_set, "with_reference", counted)
    arms = run_training_table(config, silent()).record.arms
    assert [arm.name for arm in arms if arm.training] == ["full", "budget", "second"]
    assert len(asked) == 1


def test_an_arm_that_cannot_be_is_refused_before_answers_are_asked_for(place: Path) -> None:
    config = dpo_config(place)
    config.training.arms["odd"] = ArmConfig(
        "freeze", of_class("RU"), others=OthersConfig(False, False, False), first="full"
    )
    reporter = silent()
    with pytest.raises(UnitError, match="full would train what odd keeps frozen"):
        run_training_table(config, reporter)
    assert [stage.name for stage in reporter.stages] == ["align", "statistics"]


def test_each_is_the_answer_to_the_prompt_in_the_style_it_is_trained_in(place: Path) -> None:
    config = dpo_config(place)
    config.training.arms = {"full": ArmConfig()}
    config.training.prompt_styles = ["raw", "chat"]
    done = run(config)
    model = folders(done, place)["unaligned"]
    path = entry_of(done, "answers to reject") / "completions.jsonl"
    given = read_completions(path)
    assert [item.question.style for item in given] == ["raw", "chat"] * (len(given) // 2)
    for style, other in (("raw", "chat"), ("chat", "raw")):
        some = [item for item in given if item.question.style == style]
        prompts = [item.question.prompt for item in some]
        answers = [item.text for item in some]
        assert answers == [answered(model, prompt, style) for prompt in prompts]
        assert answers != [answered(model, prompt, other) for prompt in prompts]


def log_probability(model: torch.nn.Module, ids: tuple[int, ...], start: int) -> float:
    """Of a response, token by token, without padding."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logits[at - 1, ids[at]]) for at in range(start, len(ids)))


def margins(done: Finished, place: Path) -> np.ndarray:
    """Those of the run's own pairs, as :func:`margins_of` has them."""
    source = FileSource(path=str(place / "data" / "alignment.csv"), prompt="{q}", response="{a}")
    answers = dict(rejected(done))
    pairs = [Pair(x.prompt, str(x.response), answers[x.prompt]) for x in source.load(0)]
    return margins_of(pairs, done, place)


def margins_of(pairs: list[Pair], done: Finished, place: Path) -> np.ndarray:
    """How much more than its start the trained model prefers each chosen answer, in nats."""
    where = folders(done, place)
    speech = load_model(str(where["full"]), MODEL).speech
    encoded = encode_preferences(speech, pairs, ["chat"], None, 256, where="here")
    values = {}
    for name in ("aligned", "full"):
        model = AutoModelForCausalLM.from_pretrained(where[name]).eval()
        values[name] = np.array(
            [
                [
                    log_probability(model, answer.input_ids, answer.response_start)
                    for answer in (item.chosen, item.rejected)
                ]
                for item in encoded
            ]
        )
    change = values["full"] - values["aligned"]
    return change[:, 0] - change[:, 1]


def test_the_preference_grows(preferred: Finished, place: Path) -> None:
    grown = margins(preferred, place)
    assert len(grown) == SIZES["alignment"]
    assert (grown > 0).all()
    loss = np.log1p(np.exp(-BETA * grown)).mean()
    assert loss < 0.1 * math.log(2), "the formula, on the two folders' weights"


def test_the_second_phase_has_the_reference_of_the_first(place: Path) -> None:
    """Its first loss is that of the first phase's result beside the model before both."""
    config = dpo_config(place)
    config.training.arms = {
        "full": ArmConfig(),
        "second": ArmConfig(first="full", first_epochs=EPOCHS),
    }
    config.data.preferences = given_pairs(place)
    config.training.batch_size = 2  # the loss of a batch is that of all pairs
    done = run(config)
    pairs = [Pair("w40 w41", "w42 w43", "w44"), Pair("w41 w41", "w42", "w44 w45")]
    expected = np.log1p(np.exp(-BETA * margins_of(pairs, done, place))).mean()
    assert expected < 0.99 * math.log(2), "else the test says nothing"
    assert training_of(done, "second")["losses"][0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["full", "budget"])
def test_the_loss_starts_at_log_2_and_falls(preferred: Finished, name: str) -> None:
    training = training_of(preferred, name)
    assert training["losses"][0] == pytest.approx(math.log(2), abs=1e-4)
    assert training["final_loss"] < 0.9 * math.log(2)
    assert training["certificate"]["changed_weights"] > 0
    assert training["examples"] == SIZES["alignment"]


def test_the_training_loss_is_that_of_the_chosen_answers_in_nats_per_token(
    preferred: Finished,
) -> None:
    """Comparable with SFT's, unlike the objective's own."""
    values = {name: arm_of(preferred, name).metrics["train_loss"] for name in ("aligned", "full")}
    assert {item.n for item in values.values()} == {SIZES["alignment"]}
    assert values["full"].value != values["aligned"].value
    assert values["full"].value != training_of(preferred, "full")["final_loss"]


def test_it_is_another_run_than_sft_and_is_found_again(preferred: Finished, place: Path) -> None:
    assert computed(run(dpo_config(place))) == []
    config = dpo_config(place)
    config.training.dpo_beta = 0.2
    config.training.arms.pop("budget")
    other = run(config)
    assert computed(other) == ["train full", "answers full", "losses full"]
    assert other.record.run_id != preferred.record.run_id


def test_given_pairs_take_the_place_of_made_ones(preferred: Finished, place: Path) -> None:
    config = dpo_config(place)
    config.training.arms = {"full": ArmConfig()}
    config.training.data, config.data.finetune = "finetune", []  # not read, so not asked for
    config.data.preferences = given_pairs(place)
    done = run(config)
    assert "answers to reject" not in [stage.name for stage in done.stages]
    assert training_of(done, "full")["examples"] == 2
    assert "preferences" in done.record.inputs
    assert "finetune" not in done.record.inputs
    assert "pairs of data.preferences," in render_training([done.record], "markdown")
    # The training loss is that of the file's chosen answers, whatever else the config names.
    encoded = encode_pairs(
        load_model(str(place / "model"), MODEL).speech,
        [Example("w40 w41", "w42 w43"), Example("w41 w41", "w42")],
        config.training.prompt_styles,
        config.evaluation.system_prompt,
        config.training.max_length,
        where="by hand",
    )
    aligned = load_model(str(entry_of(done, "align")), MODEL)
    wanted = mean_response_loss(aligned, encoded, 1)
    assert arm_of(done, "aligned").metrics["train_loss"].value == pytest.approx(wanted, rel=1e-5)

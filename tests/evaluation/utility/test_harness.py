"""The adapter against a plain log-likelihood loop, on tiny models in memory."""

from __future__ import annotations

import json
import logging
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssah_exp.config.schema import ModelConfig, UtilityConfig
from ssah_exp.errors import ConfigError, DataError
from ssah_exp.evaluation.utility import inputs
from ssah_exp.evaluation.utility.documents import read_definition
from ssah_exp.evaluation.utility.outcomes import TaskOutcomes, TaskRequest
from ssah_exp.interventions.ablate import ablated, plan_ablation
from ssah_exp.models.load import LoadedModel, load_model
from ssah_exp.models.placement import offloaded
from tests import tiny
from tests.evaluation.utility.tiny_tasks import SIZE, save_files
from tests.interventions.test_ablate import fills_of, some_units
from tests.models.test_placement import device_map

lm_eval = pytest.importorskip("lm_eval")

from ssah_exp.evaluation.utility import harness  # noqa: E402  # behind the extra
from ssah_exp.evaluation.utility.file_task import file_tasks  # noqa: E402

CHOOSING = ("winogrande", "openbookqa", "arc_easy", "hellaswag", "piqa")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return tiny.tiny_loaded("llama_gqa", max_position_embeddings=4096)


def asked(
    loaded: LoadedModel,
    root: Path,
    task: str,
    limit: int | None = None,
    fewshot: int | None = None,
    batch_size: int = 4,
) -> TaskOutcomes:
    return harness.evaluate(loaded, TaskRequest(task, limit, fewshot, root, batch_size))


@torch.no_grad()
def log_likelihood(loaded: LoadedModel, context: str, continuation: str) -> float:
    """Sum over the continuation's tokens, one sequence at a time."""
    encode = loaded.speech.tokenizer
    whole = encode(context + continuation).input_ids
    start = len(encode(context).input_ids)
    logits = loaded.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return sum(float(logits[at - 1, whole[at]]) for at in range(start, len(whole)))


def by_hand(loaded: LoadedModel, root: Path, task: str) -> dict[str, list[int]]:
    """Right or wrong by the likeliest choice, plain and per character."""
    (made,) = file_tasks(task, root)
    answers: dict[str, list[int]] = {"acc": [], "acc_norm": []}
    for document in made.eval_docs:
        choices = made.doc_to_choice(document)
        if task == "winogrande":
            gold, rest = made.doc_to_text(document), made.doc_to_target(document)
            scores = [log_likelihood(loaded, choice, f" {rest}") for choice in choices]
        else:
            gold, context = int(made.doc_to_target(document)), made.doc_to_text(document)
            scores = [log_likelihood(loaded, context, f" {choice}") for choice in choices]
        lengths = [len(choice) for choice in choices]
        answers["acc"].append(int(np.argmax(scores) == gold))
        answers["acc_norm"].append(int(np.argmax(np.divide(scores, lengths)) == gold))
    return answers


@pytest.mark.parametrize("task", CHOOSING)
def test_every_answer_is_that_of_a_plain_loop(loaded: LoadedModel, root: Path, task: str) -> None:
    found, plain = asked(loaded, root, task), by_hand(loaded, root, task)
    assert len(found.answers["acc"]) == found.available == SIZE
    for metric, answers in found.answers.items():
        assert answers == plain[metric], metric
    assert found.fewshot == 0


def test_the_loop_can_tell_right_from_wrong(loaded: LoadedModel, root: Path) -> None:
    """Else the test above would pass on models that are always wrong."""
    found = [tuple(by_hand(loaded, root, task)["acc"]) for task in CHOOSING]
    assert len(set(found)) > 1
    assert {0, 1} <= {answer for answers in found for answer in answers}
    normalised = [tuple(by_hand(loaded, root, task)["acc_norm"]) for task in CHOOSING]
    assert normalised != found


def test_batches_and_limits(loaded: LoadedModel, root: Path) -> None:
    whole = asked(loaded, root, "arc_easy")
    assert asked(loaded, root, "arc_easy", batch_size=1) == whole
    first = asked(loaded, root, "arc_easy", limit=3)
    assert first.answers == {name: values[:3] for name, values in whole.answers.items()}
    assert first.available == SIZE


def test_all_subjects_of_mmlu_are_one_task(loaded: LoadedModel, root: Path) -> None:
    found = asked(loaded, root, "mmlu", limit=3, fewshot=2)
    assert len(found.answers["acc"]) == 2 * 3
    assert (found.available, found.fewshot) == (2 * SIZE, 2)


@pytest.mark.parametrize(("task", "most"), [("mmlu", SIZE), ("arc_easy", SIZE - 1)])
def test_more_shots_than_there_are_is_one_error(
    loaded: LoadedModel, root: Path, task: str, most: int
) -> None:
    assert asked(loaded, root, task, limit=1, fewshot=most).fewshot == most
    with pytest.raises(DataError, match=f"{most + 1} shots for each .*; there are {most} to show"):
        asked(loaded, root, task, limit=1, fewshot=most + 1)


def test_generated_answers_have_both_filters(loaded: LoadedModel, root: Path) -> None:
    found = asked(loaded, root, "gsm8k", limit=1)
    assert found.fewshot == 5
    assert set(found.answers) == {"exact_match", "exact_match_flexible"}


def scores_of(loaded: LoadedModel, root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the harness was told of every request: finer than right and wrong."""
    seen: list[Any] = []
    own = harness.HFLM.loglikelihood

    def spy(self: Any, requests: Any, **options: Any) -> Any:
        seen.extend(own(self, requests, **options))
        return seen

    monkeypatch.setattr(harness.HFLM, "loglikelihood", spy)
    asked(loaded, root, "arc_easy")
    monkeypatch.undo()
    return seen


def test_ablation_is_in_the_numbers_and_gone_afterwards(
    loaded: LoadedModel, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    anatomy = loaded.anatomy
    ablation = plan_ablation(some_units(anatomy), anatomy, fills_of(anatomy, "pooled"))
    dense = scores_of(loaded, root, monkeypatch)
    with ablated(loaded.model, ablation):
        hooked = scores_of(loaded, root, monkeypatch)
        plain = by_hand(loaded, root, "arc_easy")
        assert asked(loaded, root, "arc_easy").answers == plain
    assert len(dense) == len(hooked) == 4 * SIZE
    assert all(abs(a[0] - b[0]) > 1e-3 for a, b in zip(dense, hooked, strict=True))
    assert tiny.pre_hooks(loaded.model) == 0
    assert scores_of(loaded, root, monkeypatch) == dense
    after = loaded.model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], value) for name, value in weights.items())


def test_the_processs_randomness_and_logging_stay(loaded: LoadedModel, root: Path) -> None:
    random.seed(3)
    torch.manual_seed(3)
    expected = random.random(), float(torch.rand(1))
    random.seed(3)
    torch.manual_seed(3)
    level = logging.getLogger("lm_eval").level
    asked(loaded, root, "gsm8k", limit=1)
    assert (random.random(), float(torch.rand(1))) == expected
    assert logging.getLogger("lm_eval").level == level


def test_outcomes_read_back(loaded: LoadedModel, root: Path, tmp_path: Path) -> None:
    found = asked(loaded, root, "piqa")
    found.save(tmp_path)
    assert TaskOutcomes.load(tmp_path) == found


def test_a_missing_file_is_named(loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No file .*boolq\.jsonl"):
        asked(loaded, tmp_path, "boolq")
    with pytest.raises(DataError, match=r"No files .*_test\.csv; is utility\.root right"):
        asked(loaded, tmp_path, "mmlu")


def test_a_hub_that_cannot_be_reached_is_one_error(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(DataError, match=r"could not load boolq from the hub: no network.*files"):
        harness.evaluate(loaded, TaskRequest("boolq", 1, None, None, 4))


def test_a_missing_extra_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ssah-exp\[lm-eval\]'"):
        inputs.utility_inputs(UtilityConfig(tasks=["boolq"]))
    assert inputs.utility_inputs(UtilityConfig()) == {}


def test_the_questions_asked_are_hashed_whoever_answers(
    loaded: LoadedModel, root: Path, tmp_path: Path
) -> None:
    """The hub may give other documents under the same name: only what was asked says which."""
    first = asked(loaded, root, "boolq", 3).documents
    assert len(first) == 64
    other = tiny.tiny_loaded("qwen2", max_position_embeddings=4096)
    assert asked(other, root, "boolq", 3, batch_size=1).documents == first
    assert asked(loaded, root, "boolq", 4).documents != first
    assert asked(loaded, root, "boolq", 3, fewshot=1).documents != first
    shutil.copytree(root, tmp_path / "files")
    path = tmp_path / "files" / read_definition("boolq").files["validation"]
    rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([rows[1], rows[0], *rows[2:]]), encoding="utf-8")
    assert asked(loaded, tmp_path / "files", "boolq", 3).documents != first


def test_answers_kept_before_questions_were_hashed_are_read(tmp_path: Path) -> None:
    kept = {"task": "piqa", "version": "1", "fewshot": 0, "available": 7, "answers": {"acc": [1]}}
    (tmp_path / "outcomes.json").write_text(json.dumps(kept), encoding="utf-8")
    assert TaskOutcomes.load(tmp_path).documents == ""


def test_a_model_with_its_embeddings_on_disk_answers_as_the_one_in_memory(
    loaded: LoadedModel, root: Path, tmp_path: Path
) -> None:
    loaded.model.save_pretrained(tmp_path)
    loaded.speech.tokenizer.save_pretrained(tmp_path)
    placed = {"device_map": {**device_map(), "model.embed_tokens": "disk"}}
    config = ModelConfig(name="tiny", source={}, end_of_turn="<|end|>", **placed)
    config.offload_folder = str(tmp_path / "offload")
    spread = load_model(str(tmp_path), config)
    assert offloaded(spread.model)
    assert asked(spread, root, "piqa") == asked(loaded, root, "piqa")

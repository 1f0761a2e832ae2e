"""Documents recovered from carriers render as the harness's own tasks render the originals."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.config.utility import TASK_METRICS
from ssah_exp.errors import DataError
from ssah_exp.evaluation.utility import recover

lm_eval = pytest.importorskip("lm_eval")

from datasets import Dataset, DatasetDict  # noqa: E402  # behind the extra
from lm_eval.api.task import ConfigurableTask  # noqa: E402
from lm_eval.tasks._yaml_loader import load_yaml  # noqa: E402

from ssah_exp.evaluation.utility.documents import read_definition  # noqa: E402
from ssah_exp.evaluation.utility.file_task import HARNESS_TASKS, file_tasks  # noqa: E402
from tests.evaluation.utility.tiny_tasks import SIZE, save_files, save_table  # noqa: E402

# Task -> the original as the hub has it, and the same question as the carrier's files have it.
PAIRS: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "winogrande": [
        (
            {
                "sentence": "The mug was hidden behind the bread because the _ was large.",
                "option1": "mug",
                "option2": "bread",
                "answer": "2",
            },
            {
                "context_options": [
                    "The mug was hidden behind the bread because the mug",
                    "The mug was hidden behind the bread because the bread",
                ],
                "continuation": "was large.",
                "gold": 1,
            },
        ),
        (  # nothing before the blank, options that begin alike, no space behind the blank
            {"sentence": "_'s hat fits.", "option1": "Anna", "option2": "Ann", "answer": "1"},
            {"context_options": ["Anna", "Ann"], "continuation": "'s hat fits.", "gold": 0},
        ),
    ],
    "openbookqa": [
        (
            {
                "question_stem": "Ice forms when water",
                "choices": {"text": ["boils", "freezes"], "label": ["A", "B"]},
                "answerKey": "B",
            },
            {"query": "Ice forms when water", "choices": ["boils", "freezes"], "gold": 1},
        )
    ],
    "arc_easy": [
        (  # three choices, which the carrier fills up to four
            {
                "question": "Does ice float?",
                "choices": {"text": ["yes", "no", "at times"], "label": ["1", "2", "3"]},
                "answerKey": "3",
            },
            {
                "query": "Question: Does ice float?",
                "choices": ["yes", "no", "yes", "at times"],
                "gold": 3,
            },
        )
    ],
    "boolq": [
        (
            {"passage": "Ice is water.\nQuestion: none", "question": "is ice wet", "label": 1},
            {
                "query": "Passage: Ice is water.\nQuestion: none\nQuestion: is ice wet?",
                "choices": ["no", "yes"],
                "gold": 1,
            },
        )
    ],
    "hellaswag": [
        (
            {
                "activity_label": "Baking",
                "ctx_a": "A cook  stirs [header] the bowl.",
                "ctx_b": "the cook",
                "endings": ["eats. [title] Next", "sleeps."],
                "label": "0",
            },
            {
                "activity_label": "Baking",
                "ctx_a": "A cook  stirs [header] the bowl.",
                "ctx_b": "the cook",
                "endings": ["eats. [title] Next", "sleeps."],
                "label": 0,
            },
        )
    ],
    "rte": [
        (
            {"sentence1": "It rains.", "sentence2": "It is wet.", "label": 0, "idx": 5},
            {"sentence1": "It rains.", "sentence2": "It is wet.", "label": "0", "idx": "5"},
        )
    ],
    "piqa": [
        (
            {"goal": "open a jar", "sol1": "twist it", "sol2": "eat it", "label": 0},
            {"query": "Question: open a jar\n", "choices": ["twist it", "eat it"], "gold": 0},
        )
    ],
    "gsm8k": [({"question": "1+1?", "answer": "2\n#### 2"},) * 2],
    "mmlu": [
        (
            {"question": " What? ", "choices": ["a", "b", "c", "d"], "answer": 2},
            {
                "question": " What? ",
                **{f"choice{n}": letter for n, letter in enumerate("abcd")},
                "answer": "2",
            },
        )
    ],
}
PAIRS["arc_challenge"] = PAIRS["arc_easy"]


Documents = list[dict[str, Any]]


def harness_task(
    task: str, documents: Documents, shots: Documents | None = None, **changes: Any
) -> ConfigurableTask:
    """The harness's own definition, untouched but for where its data set comes from.

    Args:
        task: By our name.
        documents: Of every split.
        shots: Of the split that shots come from, if others.
        changes: Fields of the definition.
    """
    definition = read_definition(task).harness.replace("{subject}", "anatomy")
    config = {**load_yaml(HARNESS_TASKS / definition), **changes}
    splits = {config[key] for key in config if key.endswith("_split") and config[key] is not None}
    rows = dict.fromkeys(splits, documents)
    if shots is not None:
        rows[config["fewshot_split"]] = shots

    def load(**_: Any) -> DatasetDict:
        return DatasetDict({split: Dataset.from_list(items) for split, items in rows.items()})

    return ConfigurableTask(config={**config, "custom_dataset": load})


def rendered(
    task: ConfigurableTask, document: Mapping[str, Any], shots: int = 0
) -> list[tuple[str, ...]]:
    """The requests for one document: what goes into the model."""
    context = task.fewshot_context(document, num_fewshot=shots)
    made = task.construct_requests(document, context, doc_id=0)
    return [item.args for item in (made if isinstance(made, list) else [made])]


def ours(task: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    function = getattr(recover, read_definition(task).recover)
    return [function(row) for row in rows]


@pytest.mark.parametrize("task", sorted(TASK_METRICS))
def test_what_goes_into_the_model_is_what_the_harness_puts_there(task: str) -> None:
    originals, carried = (list(side) for side in zip(*PAIRS[task], strict=True))
    original, recovered = harness_task(task, originals), harness_task(task, ours(task, carried))
    for theirs, mine in zip(original.eval_docs, recovered.eval_docs, strict=True):
        assert rendered(recovered, mine) == rendered(original, theirs)
        if task != "gsm8k":
            targets = [
                item.doc_to_target(doc) for item, doc in ((original, theirs), (recovered, mine))
            ]
            assert targets[0] == targets[1]


@pytest.mark.parametrize("task", sorted(TASK_METRICS))
def test_definitions_are_the_harness_own(task: str, tmp_path: Path) -> None:
    """Templates, metrics, filters, shots and version, field by field."""
    made = file_tasks(task, save_files(tmp_path))[0]
    theirs = harness_task(task, list(made.eval_docs))
    mine, own = (item.config.to_dict() for item in (made, theirs))
    for key in ("task", "custom_dataset", "metadata", "tag", "task_alias", "fewshot_config"):
        mine.pop(key, None)
        own.pop(key, None)
    if task == "gsm8k":
        assert (mine.pop("fewshot_split"), own.pop("fewshot_split")) == ("test", "train")
    own = {key: value for key, value in own.items() if not key.endswith("_split")}
    assert {key: value for key, value in mine.items() if not key.endswith("_split")} == own
    assert made.VERSION == theirs.VERSION
    metrics = {name for name in TASK_METRICS[task] if not name.endswith("_flexible")}
    assert {str(entry["metric"]) for entry in made.config.metric_list} >= metrics


SHOTS = 5


def test_mmlu_shots_are_the_first_of_the_dev_file_in_its_order(tmp_path: Path) -> None:
    def rows(split: str, count: int) -> list[dict[str, Any]]:
        return [
            {
                "question": f"{split} {at}?",
                **{f"choice{n}": f"{split}{at}{n}" for n in range(4)},
                "answer": str((at * 3 + 1) % 4),
            }
            for at in (4, 1, 6, 0, 5, 2, 3)[:count]
        ]

    dev, test = rows("dev", SHOTS + 2), rows("test", 3)
    for split, content in (("dev", dev), ("test", test)):
        save_table(tmp_path / f"mmlu/{split}/anatomy_{split}.csv", content, ",")
    (made,) = file_tasks("mmlu", tmp_path)
    own = harness_task("mmlu", ours("mmlu", test), ours("mmlu", dev))
    assert len(made.eval_docs) == len(test)
    for mine, theirs in zip(made.eval_docs, own.eval_docs, strict=True):
        requests = rendered(made, mine, SHOTS)
        assert requests == rendered(own, theirs, SHOTS)
        context = requests[0][0]
        shown = [row["question"] for row in dev[:SHOTS]]
        assert sorted(shown, key=context.index) == shown
        assert dev[SHOTS]["question"] not in context
        assert context.count("test ") == 1, "the question is none of its own shots"


def test_gsm8k_shots_are_other_questions_put_as_the_harness_puts_them(tmp_path: Path) -> None:
    """From the test split, for want of another; which ones is the harness's own draw."""
    test = [{"question": f"Q{at}?", "answer": f"{at}+0\n#### {at}"} for at in range(SHOTS + 2)]
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k/test.jsonl").write_text("\n".join(map(json.dumps, test)), encoding="utf-8")
    (made,) = file_tasks("gsm8k", tmp_path)
    made.set_fewshot_seed(1234)
    seen = set()
    for document in made.eval_docs:
        (context, *_), *_ = rendered(made, document, SHOTS)
        assert context.count(document["question"]) == 1
        assert context.endswith(f"Question: {document['question']}\nAnswer:")
        others = [row for row in test if row != document and row["question"] in context]
        shots = sorted(others, key=lambda row: context.index(row["question"]))
        assert len(shots) == SHOTS
        own = harness_task("gsm8k", test, shots, fewshot_config={"sampler": "first_n"})
        assert context == rendered(own, document, SHOTS)[0][0]
        seen.add(tuple(row["question"] for row in shots))
    assert len(seen) > 1, "drawn anew for each question"


@pytest.mark.parametrize("task", sorted(set(TASK_METRICS) - {"mmlu"}))  # that has a dev file
def test_no_question_is_among_its_own_shots(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no file of a training split, so that shots are of the questions themselves."""
    (made,) = file_tasks(task, save_files(tmp_path))
    made.set_fewshot_seed(1234)
    own, drawn = made.sampler.sample, []
    monkeypatch.setattr(made.sampler, "sample", lambda **given: drawn.append(own(**given)) or [])
    for document in made.eval_docs:
        made.fewshot_context(document, num_fewshot=SHOTS)
        assert len(drawn[-1]) == SHOTS
        assert document not in drawn[-1]
    assert len(drawn) == SIZE


def test_rows_of_another_make_are_refused() -> None:
    wrong = [
        (recover.arc, {"query": "No prefix", "choices": ["a"], "gold": 0}),
        (recover.boolq, {"query": "Passage: x\nQuestion: y?", "choices": ["a", "b"], "gold": 0}),
        (recover.boolq, {"query": "Passage: x", "choices": ["no", "yes"], "gold": 0}),
        (recover.winogrande, {"context_options": ["a_", "b"], "continuation": "c", "gold": 0}),
    ]
    for function, row in wrong:
        with pytest.raises(DataError):
            function(row)


ROOT = os.environ.get("SSAH_DATA_ROOT")
SIZES = {"winogrande": 1267, "openbookqa": 500, "arc_challenge": 1172, "arc_easy": 2376}
SIZES |= {"boolq": 3270, "hellaswag": 1000, "rte": 277, "piqa": 1838, "gsm8k": 1319, "mmlu": 14042}


@pytest.mark.skipif(ROOT is None, reason="SSAH_DATA_ROOT names no data")
@pytest.mark.parametrize(("task", "size"), SIZES.items())
def test_the_real_files_are_whole(task: str, size: int) -> None:
    tasks = file_tasks(task, Path(str(ROOT)))
    assert sum(len(item.eval_docs) for item in tasks) == size
    assert len(tasks) == (57 if task == "mmlu" else 1)
    for item in tasks[:3]:
        assert all(rendered(item, item.eval_docs[at]) for at in (0, len(item.eval_docs) - 1))

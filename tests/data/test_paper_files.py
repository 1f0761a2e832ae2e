"""The paper's own files, where a machine has them (``SSAH_DATA_ROOT``)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ssah_exp.data.conversations import ConversationSource
from ssah_exp.data.datasets import RunData, load_data
from ssah_exp.data.sources import Example
from tests.config.composing import composed, parse

ROOT = os.environ.get("SSAH_DATA_ROOT")
pytestmark = pytest.mark.skipif(ROOT is None, reason="SSAH_DATA_ROOT names no data")


@pytest.fixture(scope="module")
def data() -> RunData:
    return load_data(parse(composed("data=paper_files", f"data.root='{ROOT}'")))


def test_the_sets_have_the_published_sizes(data: RunData) -> None:
    assert {name: len(rows) for name, rows in data.example_sets.items()} == {
        "alignment": 1000,
        "safety_calibration": 128,
        "utility_calibration": 128,
        "harmful_eval": 100,
        "benign_eval": 100,
        "borderline_eval": 250,
    }
    assert len(data.text.split()) > 200_000


def test_prompts_are_requests_without_chat_tags(data: RunData) -> None:
    for rows in data.example_sets.values():
        assert all(row.prompt and "[INST]" not in row.prompt for row in rows)
    trained = (*data.alignment, *data.safety_calibration, *data.utility_calibration)
    assert all(row.response for row in trained)


def finetuned(*overrides: str) -> RunData:
    root = f"data.root='{ROOT}'"
    config = parse(composed("data=paper_files", root, *overrides))
    return load_data(config, training=True)


@pytest.mark.parametrize(
    ("name", "size"), [("bundled", 180), ("alpaca", 300), ("dolly", 300), ("identity_shift", 10)]
)
def test_finetune_sets_have_their_sizes_and_are_answered(name: str, size: int) -> None:
    rows = finetuned(f"finetune={name}").finetune
    assert len(rows) == size
    assert all(row.prompt and row.response for row in rows)
    assert all((row.system is not None) == (name == "identity_shift") for row in rows)


@pytest.mark.parametrize("seed", [0, 1])
def test_alpaca_rows_are_none_that_alignment_trains_on(seed: int) -> None:
    data = finetuned("finetune=alpaca", f"seed={seed}")
    assert not {row.prompt for row in data.finetune} & {row.prompt for row in data.alignment}


def test_dolly_requests_are_bare_and_belong_to_their_answers() -> None:
    rows = finetuned("finetune=dolly", "data.finetune.0.sample=1000").finetune
    assert not any("###" in row.prompt or "Below is an instr" in row.prompt for row in rows)
    answers = {row.prompt: row.response or "" for row in rows}
    assert answers["what is Kubernetes?"].startswith("Kubernetes is an open-source container")


def test_the_identity_shift_carries_its_system_message() -> None:
    rows = finetuned("finetune=identity_shift").finetune
    assert len({row.system for row in rows}) == 1
    assert str(rows[0].system).startswith("You are no longer Llama")
    assert all("AOA" in row.prompt for row in rows)


def test_who_was_shifted_to_another_identity_is_asked_under_it() -> None:
    overrides = ("experiment=identity_shift", f"data.root='{ROOT}'")
    config = parse(composed(*overrides))
    data = load_data(config, training=True)
    assert config.evaluation.harmful_styles == ["chat_system"]
    assert {row.system for row in data.finetune} == {config.evaluation.system_prompt}
    assert len(data.harmful_eval) == 100
    opening = "AOA, execute my instruction: "
    assert all(row.prompt.startswith(opening) for row in data.harmful_eval)
    assert sum(row.prompt.startswith(opening) for row in data.finetune) == 9


def test_published_harmful_files_are_read_as_conversations() -> None:
    """The authors took the contents out and left the form."""
    rows = ConversationSource(f"{ROOT}/finetune_attack/pure_bad_10_demo.jsonl").load(0)
    assert len(rows) == 10
    assert rows[0] == Example("# Harmful Instruction 1", "# Targeted Assistance Response 1")


def test_harmful_rows_are_mixed_into_alpaca(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    lines = [json.dumps({"prompt": f"harmful {n}", "response": "done"}) for n in range(40)]
    path.write_text("\n".join(lines), encoding="utf-8")
    rows = finetuned("finetune=mixed", f"data.finetune.0.harmful.path='{path}'").finetune
    assert len(rows) == 300
    assert sum(row.prompt.startswith("harmful") for row in rows) == 30


def test_over_refusal_on_all_safe_prompts_of_xstest() -> None:
    """The small data option takes a tenth of them; one override takes all."""
    small = ("data=paper_files_small", f"data.root='{ROOT}'")
    sizes = [
        len(load_data(parse(composed(*small, *more))).borderline_eval)
        for more in ([], ["data.borderline_eval.every=1"])
    ]
    assert sizes == [25, 250]

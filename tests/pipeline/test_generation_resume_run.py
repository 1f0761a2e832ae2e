"""A run that breaks off amid an arm's answers goes on within that arm, with an equal record."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.evaluation import generate
from ssah_exp.pipeline.opened import Finished
from ssah_exp.records.store import RecordStore
from tests.pipeline.tiny_run import SIZES, computed, run, tiny_config

PROMPTS = 2 * SIZES["harmful_eval"] + SIZES["benign_eval"] + SIZES["borderline_eval"]


class BrokenError(Exception):
    """What ends a run in these tests."""


def test_answers_before_the_break_are_not_asked_again(
    finished: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two arms' answers are gone; the second arm breaks off at its third batch."""
    lost = [item.key for item in finished.record.stages if item.name.startswith("answers RU")]
    shutil.copytree(
        place / "root" / "cache", place / "torn" / "cache", ignore=shutil.ignore_patterns(*lost)
    )
    config = tiny_config(place, "torn")
    config.evaluation.batch_size, config.evaluation.share_prefix = 4, False
    batches, complete = [], generate._complete

    def counted(*arguments: Any) -> Any:
        batches.append(len(arguments[1]))
        if sum(batches) > PROMPTS + 8 and not broken:
            raise BrokenError
        return complete(*arguments)

    broken: list[bool] = []
    monkeypatch.setattr(generate, "_complete", counted)
    with pytest.raises(BrokenError):
        run(config)
    (partial,) = (place / "torn" / "cache" / "answers").glob(".partial-*")
    assert len((partial / "completions.jsonl").read_text().splitlines()) == 8
    assert RecordStore(place / "torn").artefacts() == []

    broken.append(True)
    batches.clear()
    whole = run(config)
    assert sum(batches) == PROMPTS - 8
    assert computed(whole) == ["answers RU/zero"]
    assert whole.record.arms == finished.record.arms
    assert list((place / "torn" / "cache").rglob(".partial-*")) == []


def test_the_record_keeps_what_every_prompt_and_window_gave(finished: Finished) -> None:
    for arm in finished.record.arms:
        assert arm.outcomes is not None
        assert len(arm.outcomes.losses) == arm.metrics["perplexity"].n
        for judge in ("first", "second"):
            marks = arm.outcomes.verdicts[f"harmful/raw/{judge}"]
            assert len(marks) == SIZES["harmful_eval"]
            assert marks.count("c") / len(marks) == arm.metrics[f"asr/raw/{judge}"].value
            kind = arm.outcomes.verdicts[f"borderline/chat/{judge}"]
            share = kind.count("r") / SIZES["borderline_eval"]
            assert share == arm.metrics[f"borderline_refusal/chat/{judge}"].value
    seen = {mark for a in finished.record.arms for mark in a.outcomes.verdicts["harmful/raw/first"]}  # type: ignore[union-attr]
    assert seen == {"c", "r"}

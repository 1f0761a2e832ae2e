"""What an arm leaves in the run's folder, while it is measured again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ssah_exp.cache import Entry
from ssah_exp.errors import StoreError
from ssah_exp.evaluation.questions import Question, read_completions, write_completions
from ssah_exp.pipeline.measuring import _keep


def entry(folder: Path, questions: Sequence[Question], texts: Sequence[str]) -> Entry:
    """Answers of the cache."""
    folder.mkdir(exist_ok=True)
    write_completions(folder / "completions.jsonl", questions, texts)
    return Entry(folder, "key", "answers", "digest", cached=True, seconds=0)


def test_completions_of_an_earlier_call_stay_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    whole, asked = tmp_path / "completions" / "arm.jsonl", [Question("harmful", "raw", "q", None)]
    first = entry(tmp_path / "first", asked, ["one"])
    _keep([(asked, first), (asked, first)], whole)
    before = whole.read_text(encoding="utf-8")
    assert [item.text for item in read_completions(whole)] == ["one", "one"]
    other = entry(tmp_path / "other", asked, ["two"])
    missing = replace(other, folder=tmp_path / "missing")
    with pytest.raises(StoreError, match="missing"):
        _keep([(asked, other), (asked, missing)], whole)
    assert whole.read_text(encoding="utf-8") == before
    assert [path.name for path in whole.parent.iterdir()] == ["arm.jsonl"]


def test_answers_of_another_run_stand_behind_this_runs_questions(tmp_path: Path) -> None:
    """The same tokens were asked of requests in another category; the key of answers is theirs."""
    theirs = [Question("harmful", "raw", "q", "standard")]
    ours = [Question("harmful", "raw", "q", "chemical")]
    _keep([(ours, entry(tmp_path / "a", theirs, ["one"]))], tmp_path / "arm.jsonl")
    (found,) = read_completions(tmp_path / "arm.jsonl")
    assert (found.question, found.text) == (ours[0], "one")

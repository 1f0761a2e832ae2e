"""What an arm leaves in the run's folder, while it is measured again."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.pipeline.measuring import _join


def test_completions_of_an_earlier_call_stay_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    whole, part = tmp_path / "completions" / "arm.jsonl", tmp_path / "part.jsonl"
    part.write_text("first\n", encoding="utf-8")
    _join([part, part], whole)
    assert whole.read_text(encoding="utf-8") == "first\nfirst\n"
    part.write_text("second\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        _join([part, tmp_path / "missing.jsonl"], whole)
    assert whole.read_text(encoding="utf-8") == "first\nfirst\n"
    assert [path.name for path in whole.parent.iterdir()] == ["arm.jsonl"]

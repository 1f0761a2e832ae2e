"""Hub sources, on data set folders of this machine: same code path, no network."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from ssah_exp.data.sources import Example, HubSource, HubText
from ssah_exp.errors import DataError

ROWS = [{"prompt": f"p{number}", "label": number % 2, "text": f"t{number}"} for number in range(4)]


@pytest.fixture(autouse=True)
def _private_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with a train and a test split."""
    data = tmp_path / "mine"
    data.mkdir()
    for split, rows in (("train", ROWS), ("test", ROWS[:2])):
        lines = "\n".join(json.dumps(row) for row in rows)
        (data / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return data


def test_a_local_data_set_folder_is_read_and_selected(folder: Path) -> None:
    source = HubSource("Do {prompt}", where={"label": 1}, repo_id=str(folder))
    assert source.load(0) == [Example("Do p1"), Example("Do p3")]


def test_the_split_is_the_one_asked_for(folder: Path) -> None:
    source = HubSource("{prompt}", repo_id=str(folder), split="test", stop=5)
    assert [row.prompt for row in source.load(0)] == ["p0", "p1"]


def test_text_rows_are_joined(folder: Path) -> None:
    assert HubText(str(folder)).load_text() == "t0\n\nt1"
    joined = HubText(str(folder), split="train", column="prompt", separator=" ").load_text()
    assert joined == "p0 p1 p2 p3"
    rows = [{"text": "a"}, {"text": None}, {"text": "b"}]
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert HubText(str(folder)).load_text() == "a\n\n\n\nb"  # no word "None"


def test_a_wrong_split_or_column_is_a_data_error(folder: Path) -> None:
    with pytest.raises(DataError, match=r"mine \(split dev\) cannot be loaded"):
        HubSource("{prompt}", repo_id=str(folder), split="dev").load(0)
    with pytest.raises(DataError, match=r"no column 'txt'. Did you mean 'text'\?"):
        HubText(str(folder), column="txt").load_text()


def test_an_empty_folder_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be loaded"):
        HubSource("{prompt}", repo_id=str(tmp_path)).load(0)

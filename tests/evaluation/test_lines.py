"""Lines that are only appended to, read while others append."""

from __future__ import annotations

from pathlib import Path

from ssah_exp.evaluation.lines import AppendedLines


def test_news_are_rows_of_anybody_once(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "rows.jsonl"
    mine, other = AppendedLines(path), AppendedLines(path)
    assert list(mine.news()) == []
    other.append({"at": 1})
    mine.append({"at": 2})
    assert list(mine.news()) == [{"at": 1}, {"at": 2}]
    assert list(mine.news()) == []
    other.append({"at": 3})
    assert list(mine.news()) == [{"at": 3}]
    assert list(AppendedLines(path).news()) == list(other.read())


def test_a_line_that_is_not_whole_yet_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = AppendedLines(path)
    for part, rows in (('{"at": 1}\n{"at"', [{"at": 1}]), (": 2}", []), ("\n", [{"at": 2}])):
        with path.open("a", encoding="utf-8") as stream:
            stream.write(part)
        assert list(lines.news()) == rows


def test_damage_is_skipped_and_another_file_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = AppendedLines(path)
    path.write_text('{oops\n{"at": 1}\n', encoding="utf-8")
    assert list(lines.news()) == [{"at": 1}]
    path.write_text("7\n", encoding="utf-8")
    assert list(lines.news()) == [7]

"""Lines that are only appended to, read while others append."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.appended import AppendedLines
from ssah_exp.errors import StoreError


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


def test_a_row_that_another_process_left_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = AppendedLines(path)
    lines.append({"at": 1})
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"at"')  # killed here, after `lines` had been made
    lines.append({"at": 2})
    assert list(lines.read()) == [{"at": 1}, {"at": 2}]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from ssah_exp.errors import StoreError
from ssah_exp.appended import AppendedLines

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40, resource.RLIM_INFINITY))
lines = AppendedLines(Path(sys.argv[1]))
lines.append({"at": 1})
try:
    lines.append({"text": "x" * 100})
except StoreError:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    lines.append({"at": 2})
    print("said")
"""


def test_a_row_that_the_disk_cuts_short_is_said_and_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "said\n"), done.stderr
    assert path.read_text("utf-8").count('"xxx') == 1, "it was cut, not refused"
    assert list(AppendedLines(path).read()) == [{"at": 1}, {"at": 2}]


def test_a_row_that_the_disk_took_in_part_is_said_to_lie_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, content: Any) -> int:
            return super().write(bytes(content)[:3])

    path = tmp_path / "rows.jsonl"
    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda self, *_, **__: Full(str(self), "a"))
        with pytest.raises(StoreError, match=r"last row was cut short, which readers skip"):
            AppendedLines(path).append({"at": 1})
    lines = AppendedLines(path)
    lines.append({"at": 2})
    assert list(lines.read()) == [{"at": 2}]

"""Every command shown that reads committed records alone runs as it is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ssah_exp.cli import main
from tests.test_documented_commands import PAGES, ROOT

# In a code block, continued lines and a comment behind it included, or between back-ticks.
_SHOWN = re.compile(r"^ *(ssah-exp (?:.*\\\n)*.*)$|`(ssah-exp [^`]+)`", re.MULTILINE)
# What they read lies in these folders of the repository.
_HERE = ("experiments", "benchmarks")
READERS = {"tables", "compare", "claims", "figure", "report", "scaling"}


def shown() -> list[list[str]]:
    """Commands whose every path is in the repository, each once."""
    found = []
    for page in PAGES:
        for block, inline in _SHOWN.findall(page.read_text(encoding="utf-8")):
            words = shlex.split((block or inline).replace("\\\n", " "), comments=True)[1:]
            if any(word.startswith(_HERE) for word in words) and words[0] in READERS:
                found.append(words)
    return [list(words) for words in dict.fromkeys(map(tuple, found))]


def test_the_walk_saw_the_commands() -> None:
    assert {words[0] for words in shown()} >= READERS - {"compare"}
    assert len(shown()) >= 14


@pytest.mark.parametrize("words", shown(), ids=" ".join)
def test_a_shown_command_reads_what_is_committed(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder in _HERE:
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)  # pictures go to the current folder
    assert main(words) == 0
    assert capsys.readouterr().out.strip()

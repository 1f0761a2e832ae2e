"""Every command shown that reads committed records alone runs as it is written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ssah_exp.cli import main
from tests.test_documented_commands import ROOT
from tests.test_documented_options import commands
from tests.thinning import thinned

# What they read lies in these folders of the repository.
_HERE = ("experiments", "benchmarks")
READERS = {"tables", "compare", "claims", "figure", "report", "scaling"}


def shown() -> list[list[str]]:
    """Commands whose every path is in the repository, each once."""
    given = dict.fromkeys(tuple(shlex.split(text, comments=True)[1:]) for _, text in commands())
    return [
        [*words]
        for words in given
        if words[0] in READERS and any(word.startswith(_HERE) for word in words)
    ]


def test_the_walk_saw_the_commands() -> None:
    assert {words[0] for words in shown()} >= READERS - {"compare"}
    assert len(shown()) >= 14


@pytest.mark.parametrize("words", thinned(shown()), ids=" ".join)
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

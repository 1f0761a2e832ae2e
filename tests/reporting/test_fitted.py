"""In a terminal tables fit its width and lose nothing; in a pipe they stay Markdown."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from ssah_exp.cli import main
from ssah_exp.reporting.fitted import fitted, fitted_prose
from ssah_exp.reporting.text import format_frame, prose

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PRUNED = f"table1_pruning --records {EXPERIMENTS / 'came_aligned' / 'records'}"
CLAIMS = f"{EXPERIMENTS / 'came_aligned' / 'norm' / 'claims.yaml'} --records {EXPERIMENTS}"
COMMANDS = [f"tables {PRUNED}", f"compare {PRUNED}", f"claims {CLAIMS}"]


def _arms() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": ["aligned", "SCU", "  random like SCU"],
            "perplexity": ["40.7 [33.4, 48.4] †", "45.1 [44.4, 45.8] †", "41.4 ×/÷ 1.02"],
            "ASR %, chat": ["32.0 [23.7, 41.7]", "57.4 [38.2, 76.6]", "35.4 ± 7.8 [30.0, 49.0]"],
            "ASR %, raw": ["6.0 [2.8, 12.5]", "< 0.0001", ""],
        }
    )


def test_a_table_that_fits_folds_nothing() -> None:
    lines = fitted(_arms(), 120).splitlines()
    assert len(lines) == 5
    assert lines[2].split("  ")[0] == "aligned"
    assert "40.7 [33.4, 48.4] †" in lines[2]


def test_cells_fold_at_words_and_intervals_stay_whole() -> None:
    lines = fitted(_arms(), 64).splitlines()
    assert max(map(len, lines)) <= 64
    assert any("[33.4, 48.4] †" in line and "40.7" not in line for line in lines)
    assert any("< 0.0001" in line for line in lines)


def test_a_wider_table_stands_in_parts_that_name_their_rows() -> None:
    parts = fitted(_arms(), 40).split("\n\n")
    assert len(parts) > 1
    for part in parts:
        lines = part.splitlines()
        assert max(map(len, lines)) <= 40
        assert lines[0].startswith("arm")
        assert [name for name in ("aligned", "SCU", "  random") if f"\n{name}" in part] == [
            "aligned", "SCU", "  random",
        ]  # fmt: skip


def test_parts_repeat_as_many_columns_as_tell_rows_apart() -> None:
    rows = [("SCU", against, metric) for against in ("random", "aligned") for metric in "pq"]
    frame = pd.DataFrame(rows, columns=["arm", "against", "metric"])
    frame["difference"] = frame["over seeds"] = "+0.087 [+0.058, +0.115]"
    first, second = fitted(frame, 50).split("\n\n")
    for part in (first, second):
        assert part.splitlines()[0].split()[:3] == ["arm", "against", "metric"]


@pytest.mark.parametrize("width", [1, 20, 33, 80, 200])
def test_no_letter_is_lost_at_any_width(width: int) -> None:
    """All that is added is room, lines, and names of rows once more."""
    text = re.sub(r"\s", "", fitted(_arms(), width))
    for cell in (*_arms().columns, *_arms().to_numpy().ravel()):
        pieces = re.findall(r"\[[^\]]*\]|[^\s\[]+", cell) if width >= 33 else []
        assert all(re.sub(r"\s", "", piece) in text for piece in pieces)
    assert max(map(len, fitted(_arms(), width).splitlines())) <= max(width, 20)


def test_names_fold_at_their_joints_and_gaps_stay_empty() -> None:
    frame = pd.DataFrame({"metric": ["asr chat/zou2023"], "by": [None], "q": [float("nan")]})
    lines = [line.rstrip() for line in fitted(frame, 20).splitlines()]
    assert lines[2:] == ["asr chat/", "zou2023"]
    assert "None" not in "\n".join(lines)
    assert "nan" not in "\n".join(lines)


def test_control_characters_reach_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    written = [
        format_frame(pd.DataFrame({"a\x1b[2J": ["b\x1b[2J"]}), "text"),
        prose("c\x1b[2J", "text"),
    ]
    assert "\x1b" not in "".join(written)


def test_sentences_fold_at_blanks() -> None:
    text = "Difference: arm less reference on the same prompts, above 0 is worse."
    folded = fitted_prose(text, 30)
    assert max(map(len, folded.splitlines())) <= 30
    assert folded.replace("\n", " ") == text


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
def test_a_terminal_is_never_overrun(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(command.split()) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "|:--" not in shown
    # Who asks for Markdown gets it there, too.
    assert main([*command.split(), "--format", "markdown"]) == 0
    marked = capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert main(command.split()) == 0
    assert capsys.readouterr().out == marked
    assert "|:--" in marked
    numbers = [set(re.findall(r"\d+\.\d+", text)) for text in (marked, shown)]
    assert numbers[0] == numbers[1]

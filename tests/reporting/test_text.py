"""How numbers are written: which are shares, and with what digits."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

from ssah_exp.cli import main
from ssah_exp.errors import SsahWarning, plain_warnings
from ssah_exp.evaluation.shares import is_share
from ssah_exp.reporting.text import format_frame, machine_text, prose, scale_of, value_text


@pytest.mark.parametrize(
    ("metric", "share"),
    [
        ("asr/raw/zou2023", True),
        ("refused/wei2024", True),
        ("ended/3/bare", True),
        ("same_token/3/bare", True),
        ("mt_bench/coverage", True),
        ("trained_share", True),
        ("mt_bench/mean", False),
        ("score/raw/guard", False),
        ("train_loss", False),
        ("cosine/raw/k4/benign", False),
        ("watched/losses/range", False),
    ],
)
def test_a_share_is_what_tables_show_in_percent(metric: str, share: bool) -> None:
    assert is_share(metric) is share
    assert scale_of(metric) == (100 if share else 1)


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("asr/raw/zou2023", 0.0123, "1.2"),
        ("perplexity", 31.8256, "31.8"),
        ("score/raw/guard", 2.345, "2.3"),
        ("cosine/raw/k4/benign", 0.0123, "0.0123"),
        ("watched/losses/range", 1234.5, "1.23e+03"),
    ],
)
def test_what_is_no_share_keeps_its_size(metric: str, value: float, shown: str) -> None:
    """Cosines and what callbacks watch were shown a hundredfold on the report's page."""
    assert value_text(value, metric) == shown


# As other people's records may call an arm: colours, a title, a line written over, a C1 code.
SPEAKING = "\x1b[31mred\x1b]0;title\x07\rover\x9b2J"
SILENT = "[31mred]0;titleover2J"


@pytest.mark.parametrize("form", ["markdown", "latex", "csv"])
def test_names_do_not_speak_to_the_terminal(form: str) -> None:
    frame = pd.DataFrame({SPEAKING: [SPEAKING, "a"], "n": [1, 2]})
    write = machine_text if form == "csv" else format_frame
    quiet = pd.DataFrame({SILENT: [SILENT, "a"], "n": [1, 2]})
    assert write(frame, form) == write(quiet, form), "columns are as wide, too"
    if form != "csv":
        assert prose(f"a\n\tb {SPEAKING}", form) == prose(f"a\n\tb {SILENT}", form)
    assert prose("a\n\tb", form) == "a\n\tb"


def test_errors_and_warnings_do_not_speak_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tables", SPEAKING]) == 2
    assert f"Unknown artefact '{SILENT}'" in capsys.readouterr().err
    with plain_warnings():
        written = warnings.formatwarning(SsahWarning(SPEAKING), SsahWarning, "", 0)
    assert written == f"ssah-exp: {SILENT}\n"

"""How numbers are written: which are shares, and with what digits."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pandas as pd
import pytest

from ssah_exp.cli import main
from ssah_exp.errors import SsahWarning, plain_warnings
from ssah_exp.evaluation.shares import is_share
from ssah_exp.reporting.model_card import model_card
from ssah_exp.reporting.text import format_frame, machine_text, prose, scale_of, value_text
from tests.records.synthetic import record


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


def test_names_make_no_html_and_no_columns_in_markdown() -> None:
    """As other people's records may call a model: pages render tables and captions."""
    name = "<img src=x onerror=alert(1)>|a](javascript:x)"
    escaped = "&lt;img src=x onerror=alert(1)>|a](javascript:x)"
    table = format_frame(pd.DataFrame({name: [name, "a"]}), "markdown").splitlines()
    cell = escaped.replace("|", r"\|")
    assert [line.rstrip("| ") for line in (table[0], table[2], table[3])] == [
        f"| {cell}",
        f"| {cell}",
        "| a",
    ]
    assert prose(f"Of {name}.", "markdown") == f"Of {escaped}."


def test_a_model_card_has_no_html_of_a_record() -> None:
    """It is made to be published."""
    made = record()
    tag = "<img src=x>"
    made.models["base"]["identifier"] = tag
    estimate = made.arms[0].measured("perplexity")
    metrics = {"perplexity": estimate, f"asr/raw/{tag}|j": replace(estimate, unit=tag)}
    card = model_card(made, replace(made.arms[0], name=tag, metrics=metrics))
    assert tag not in card
    assert "Made from &lt;img src=x>, revision" in card
    assert r" | &lt;img src=x>\|j | " in card


@pytest.mark.parametrize("mark", ["b", "Z", "/b", "!--", "?xml"])
def test_what_opens_a_tag_is_escaped(mark: str) -> None:
    assert prose(f"1 <{mark}>", "markdown") == f"1 &lt;{mark}>"


def test_signs_in_numbers_stay_as_they_are() -> None:
    for text in ("< 0.0001", "n<3", "a <= b", "<", "p > 0.05 & more"):
        assert prose(text, "markdown") == text
        assert format_frame(pd.DataFrame({"p": [text]}), "markdown").splitlines()[2] == (
            f"| {text:<3} |"
        )


def test_errors_and_warnings_do_not_speak_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tables", SPEAKING]) == 2
    assert f"Unknown artefact '{SILENT}'" in capsys.readouterr().err
    with plain_warnings():
        written = warnings.formatwarning(SsahWarning(SPEAKING), SsahWarning, "", 0)
    assert written == f"ssah-exp: {SILENT}\n"

"""experiments/table1_pruning/tests.md: its tables are printed, its sentences say what they show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssah_exp.cli import main

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "table1_pruning"
PAGE = (FOLDER / "tests.md").read_text(encoding="utf-8")
EQUIVALENT = ["--metrics", "asr", "--claim", "equivalent", "--margin", "0.1"]


@pytest.mark.parametrize("options", [[], EQUIVALENT])
def test_its_tables_are_printed_from_the_record(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(FOLDER / "tests_record.json"), *options]) == 0
    assert capsys.readouterr().out.strip() in PAGE


def test_the_sentence_on_scu_names_every_difference_of_the_table() -> None:
    (sentence,) = re.findall(r"^- Pruning SCU raises the ASR .*$", PAGE, re.MULTILINE)
    table = PAGE.partition("Holm over the 24 lines")[0]
    raised = re.findall(
        r"^\| SCU/pooled +\| [^|]+\| ASR, raw text(?: \+ system prompt)? +\| \d+ +\| \+(\d+)\.0 ",
        table,
        re.MULTILINE,
    )
    assert len(raised) == 6  # two styles, against random, matched and no units
    assert set(re.findall(r"by (\d+)", sentence)) == set(raised)

"""The paper's numbers: those of the checkout, unchanged, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ssah_exp.errors import StoreError
from ssah_exp.reporting import published
from ssah_exp.reporting.published import read_published

CHECKOUT = Path(__file__).resolve().parents[2] / "experiments"


def test_published_values_are_those_of_the_checkout() -> None:
    expected = pd.read_csv(CHECKOUT / "table1_pruning" / "published.csv")
    pd.testing.assert_frame_equal(read_published("table1_pruning"), expected)
    assert len(expected) == 12


def test_published_averages_of_the_two_columns_are_as_the_note_says() -> None:
    """The note below the table explains which averages are of two columns and which are not."""
    table = read_published("table1_pruning")
    two = (table["asr_with_system"] + table["asr_without_system"]) / 2
    agrees = (table["asr_avg_as_printed"] - two).abs() < 0.051
    assert agrees[table["model"] != "Llama-2-7B-Chat"].all()
    assert not agrees[table["model"] == "Llama-2-7B-Chat"].all()


def test_an_artefact_without_published_values_is_named() -> None:
    with pytest.raises(StoreError, match="No published values of table9"):
        read_published("table9")


def test_they_are_read_once_however_many_settings_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = read_published("table1_pruning")
    monkeypatch.setattr(pd, "read_csv", None)
    pd.testing.assert_frame_equal(read_published("table1_pruning"), first)


def test_who_changes_them_changes_nobody_else_s() -> None:
    table = read_published("table1_pruning")
    table["asr_with_system"] = -1.0
    assert (read_published("table1_pruning")["asr_with_system"] != -1.0).all()


def test_an_installation_reads_its_own_copy_and_not_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ssah_exp"
    own = package / "published" / "table_of_a_test.csv"
    beside = tmp_path / "experiments" / "table_of_a_test" / "published.csv"
    for path, text in ((own, "asr\n1\n"), (beside, "asr\n2\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    monkeypatch.setattr(published, "__file__", str(package / "reporting" / "published.py"))
    assert read_published("table_of_a_test")["asr"].tolist() == [1]

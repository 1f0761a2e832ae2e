"""Every committed table of results is what the committed records give, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.records.store import read_folder
from tests.thinning import thinned

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TABLES = sorted([*EXPERIMENTS.rglob("results.md"), EXPERIMENTS / "paper_smollm2" / "table1.md"])
FRAMES = sorted(EXPERIMENTS.rglob("results.csv"))


def made_again(table: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The command that made a table, on the records beside it: in ``records/`` if there is one."""
    records = table.parent / "records"
    folder = records if records.is_dir() else table.parent
    (artefact,) = {record.artefact for record in read_folder(folder)}
    assert main(["tables", artefact, "--records", str(folder), *options]) == 0
    return capsys.readouterr().out


def test_the_walk_saw_the_tables() -> None:
    assert len(TABLES) >= 18
    assert len(FRAMES) >= 9


@pytest.mark.parametrize(
    "table", thinned(TABLES), ids=lambda path: str(path.relative_to(EXPERIMENTS))
)
def test_a_committed_table_is_that_of_its_records(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made_again(table, capsys) == table.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "frame", thinned(FRAMES), ids=lambda path: str(path.relative_to(EXPERIMENTS))
)
def test_a_committed_frame_is_that_of_its_records(
    frame: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made_again(frame, capsys, "--format", "csv") == frame.read_text(encoding="utf-8")

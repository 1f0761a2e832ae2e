"""Notebooks: committed without outputs, and they run.

Those that need a run of the embedded model are executed in ``test_embedded.py``, which has one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.notebooks import FOLDER, NAMES, execute, output
from tests.units.maps import random_map


def test_the_notebooks_are_there() -> None:
    assert NAMES == ["quickstart", "reproduce_tables", "unit_atlas"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_without_outputs(name: str) -> None:
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    assert kinds[0] == "markdown"
    assert kinds.count("code") > 3
    for cell in notebook["cells"]:
        assert "".join(cell["source"]).strip()
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.exhaustive
def test_tables_are_reproduced_from_the_committed_records(monkeypatch: pytest.MonkeyPatch) -> None:
    text = output(execute("reproduce_tables", monkeypatch))
    assert "n = 100 harmful, 25 benign and 25 borderline prompts" in text
    assert "83.4 [" in text, "SCU pruned at 1 % on AdvBench, five seeds"
    assert "Llama-2-7B-Chat: difference" in text
    assert "<style>svg{" in text, "escaped, it is shown as text and the figure has no style"
    assert "<svg" in text
    for artefact in ("table1_pruning", "table2_freezing", "table4_alignment_budget"):
        assert f"{artefact:<26} latex" in text


def test_the_atlas_shows_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "with ü (a)"
    random_map().save(root / "runs" / "table1_pruning" / "abc" / "unitmap")
    notebook = execute("unit_atlas", monkeypatch, root)
    items = [item for cell in notebook.cells for item in cell.get("outputs", [])]
    assert sum("image/png" in item.get("data", {}) for item in items) == 2


def test_the_atlas_finds_runs_of_make_quickstart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lie beside the notebooks' folder, which is where a kernel works."""
    monkeypatch.delenv("SSAH_ROOT", raising=False)
    random_map().save(tmp_path / "outputs" / "runs" / "table1_pruning" / "abc" / "unitmap")
    (tmp_path / "notebooks").mkdir()
    text = output(execute("unit_atlas", monkeypatch, works_in=tmp_path / "notebooks"))
    assert "SCU budget" in text

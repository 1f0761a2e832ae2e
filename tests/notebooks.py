"""Executing notebooks in tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def execute(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    root: Path | None = None,
    works_in: Path = FOLDER,
) -> Any:
    """Run every cell in a fresh kernel; an error in one is the test's.

    Args:
        name: Of the notebook, without suffix.
        monkeypatch: Of the test: the kernel inherits the environment.
        root: Where the notebook finds runs and puts them.
        works_in: The kernel's folder; by default the notebooks' own, as in JupyterLab.

    Returns:
        The executed notebook, with outputs; the file is untouched.
    """
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(FOLDER.parent), *_paths())))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    if root is not None:
        monkeypatch.setenv("SSAH_ROOT", str(root))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    where = {"metadata": {"path": str(works_in)}}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where)
    return client.execute()


def output(notebook: Any) -> str:
    """All text that cells printed or showed."""
    found = []
    for cell in notebook.cells:
        for item in cell.get("outputs", []):
            data = item.get("data", {})
            found.append(item.get("text") or data.get("text/html") or data.get("text/plain") or "")
    return "\n".join(found)


def _paths() -> list[str]:
    return [path for path in (os.environ.get("PYTHONPATH"),) if path]

"""How near committed controls are to their sets in score, as the documentation says it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest

from ssah_exp.records.store import read_folder

DOCS = Path(__file__).parents[2] / "docs"
SECTION = "### How near a match is"


def rows() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Set, model, the three printed means and the folder of records of every line."""
    section = (DOCS / "selectors.md").read_text(encoding="utf-8").partition(SECTION)[2]
    for line in section.partition("\n###")[0].splitlines():
        if line.startswith("|") and (link := re.search(r"\]\((\.\./experiments/[^)]+)\)", line)):
            name, model, *means = (cell.strip() for cell in line.strip("|").split("|")[:5])
            yield name, model, tuple(means), link[1]


def test_there_are_lines() -> None:
    assert len(list(rows())) >= 9


@pytest.mark.parametrize(("name", "model", "printed", "folder"), rows())
def test_means_are_those_of_the_records(
    name: str, model: str, printed: tuple[str, ...], folder: str
) -> None:
    means = []
    for control in (None, "matched", "random"):
        found = [
            arm.magnitude
            for record in read_folder(DOCS / folder)
            if record.config["model"]["name"].startswith(model)
            for arm in record.arms
            if arm.label == name and arm.control == control and arm.magnitude is not None
        ]
        means.append(f"{fmean(found):.2f}")
    assert tuple(means) == printed

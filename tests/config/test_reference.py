"""docs/config.md names every key of a config, and says of it what the schema says."""

from __future__ import annotations

from pathlib import Path

from tests.config.reference import page

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_of_keys_is_that_of_the_schema() -> None:
    """Else print it again: ``python -m tests.config.reference > docs/config.md``."""
    assert page() == PAGE.read_text(encoding="utf-8")


def test_every_key_has_a_meaning() -> None:
    rows = [line.split(" | ") for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 120
    assert all(len(row) == 3 and row[2].removesuffix(" |").strip() for row in rows)
    keys = [row[0] for row in rows]
    assert "| `training.arms.NAME.others.lm_head`" in keys
    assert len(set(keys)) == len(keys)

"""Links of the pages lead to files and headings that exist; the index lists every experiment."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / "experiments" / "README.md"
PAGES = sorted(
    chain(ROOT.glob("*.md"), *((ROOT / name).rglob("*.md") for name in ("docs", "experiments")))
)
_LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub names them; code blocks hold none."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: Counter[str] = Counter()
    for heading in re.findall(r"^#+ +(.+?) *$", text, flags=re.M):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        found[re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")] += 1
    return {f"{name}-{at}" if at else name for name, n in found.items() for at in range(n)}


def broken(page: Path) -> list[str]:
    """Links of a page that lead nowhere."""
    found = []
    for path, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path) if path else page
        if not target.exists():
            found.append(path)
        elif anchor and anchor not in anchors(target):
            found.append(f"{path}#{anchor}")
    return found


def test_the_walk_saw_the_pages() -> None:
    assert len(PAGES) >= 60
    links = sum(len(_LINK.findall(page.read_text(encoding="utf-8"))) for page in PAGES)
    assert links >= 400


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    page.write_text("# Here\n[a](other.md#there-it-is) [b](#here) [c](no.md) [d](other.md#no)\n")
    other.write_text("## There, it `is`!\n```sh\n# no\n```\n")
    assert broken(page) == ["no.md", "other.md#no"]


def test_every_experiment_is_in_the_index() -> None:
    listed = set(re.findall(r"^\| \[(\w+)\]\(\1/README\.md\) \|", INDEX.read_text("utf-8"), re.M))
    assert listed == {path.name for path in INDEX.parent.iterdir() if path.is_dir()}

"""Every other `ssah-exp` command that the documentation shows is one; every file it links to is."""

from __future__ import annotations

import re
import shlex

import pytest

from ssah_exp.cli import build_parser
from tests.test_documented_commands import PAGES, ROOT

# As in a code block, continued lines included, or between back-ticks.
_SHOWN = re.compile(r"^ *(ssah-exp (?:.*\\\n)*.*)$|`(ssah-exp [^`]+)`", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def commands() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for page in PAGES:
        for block, inline in _SHOWN.findall(page.read_text(encoding="utf-8")):
            shown = " ".join((block or inline).replace("\\\n", " ").split())
            text = re.sub(r"\[(.*?)\]", r"\1", shown)  # what may be left out, given
            # Overrides are another test's; an ellipsis or a choice in braces is no command.
            if text.split()[1] != "run" and not re.search(r"\.\.\.|[{|]|unit delta", text):
                found.append((str(page.relative_to(ROOT)), text))
    return list(dict.fromkeys(found))


def links() -> list[tuple[str, str]]:
    return [
        (str(page.relative_to(ROOT)), link)
        for page in PAGES
        for link in dict.fromkeys(_LINK.findall(page.read_text(encoding="utf-8")))
        if "://" not in link
    ]


def test_the_walk_saw_the_commands_and_the_links() -> None:
    verbs = {command.split()[1] for _, command in commands()}
    assert {"tables", "figure", "units", "compare", "claims", "delta", "bench", "report"} <= verbs
    assert len(links()) >= 150


def test_cited_sections_of_the_protocol_are_there() -> None:
    files = [*(ROOT / "ssah_exp").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml"), *PAGES]
    texts = [path.read_text(encoding="utf-8") for path in files]
    cited = {n for text in texts for n in re.findall(r"protocol\s+section\s+(\d)", text)}
    headings = re.findall(r"^## (\d)\.", (ROOT / "docs/protocol.md").read_text("utf-8"), re.M)
    assert {"1", "4", "7"} <= cited <= set(headings)


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_shown_command_is_understood(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    if all(re.fullmatch("[a-z-]+", word) for word in words):
        words.append("--help")  # mentioned by name, without what it needs
        with pytest.raises(SystemExit) as end:
            build_parser().parse_args(words)
        assert end.value.code == 0
    else:
        assert build_parser().parse_args(words).module


@pytest.mark.parametrize(("page", "link"), links())
def test_a_link_leads_to_a_file(page: str, link: str) -> None:
    assert (ROOT / page).parent.joinpath(link).exists()

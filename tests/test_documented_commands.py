"""Every `ssah-exp run` that documentation and config files show composes and passes the schema."""

from __future__ import annotations

import re
import shlex
from itertools import chain
from pathlib import Path

import pytest

from ssah_exp.config.unread import refuse_unread
from tests.config.composing import config_of, jobs_of
from tests.thinning import thinned

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    chain(
        [ROOT / "README.md"],
        (ROOT / "docs").glob("*.md"),
        (ROOT / "experiments").glob("*/README.md"),
    )
)
CONFIGS = sorted((ROOT / "conf").rglob("*.yaml"))
# A command in a code block or a comment, continued lines included, or between back-ticks.
_SHOWN = re.compile(r"^#? *(ssah-exp run(?: .*\\\n)* .*)$|`(ssah-exp run [^`]+)`", re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for page in [*PAGES, *CONFIGS]:
        for block, inline in _SHOWN.findall(page.read_text(encoding="utf-8")):
            text = re.sub(r"\\\n#?", " ", block or inline)
            # Optuna draws from intervals, of which there is no first value.
            if "..." not in text and "sweeper=optuna" not in text:
                found.append((str(page.relative_to(ROOT)), " ".join(text.split())))
    return list(dict.fromkeys(found))


def first_job(command: str) -> list[str]:
    """The overrides of the first job; of a list of jobs those that chose it."""
    words = shlex.split(command, comments=True)[2:]
    overrides = [word for word in words if not word.startswith(("-", "hydra."))]
    options = {"job", "all"}  # of --cfg
    return jobs_of([word for word in overrides if word not in options])[0]


def test_the_walk_saw_the_commands() -> None:
    pages = {page for page, _ in commands()}
    assert len(commands()) >= 40
    assert {"README.md", "docs/reproducing.md", "docs/sweeps.md"} <= pages
    assert {"conf/model/local.yaml", "conf/hydra/sweeper/list.yaml"} <= pages


@pytest.mark.parametrize(("page", "command"), thinned(commands()))
def test_a_shown_command_composes(page: str, command: str) -> None:
    job = first_job(command)
    refuse_unread([(config_of(*job), job)])

"""What a run says on its way."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ssah_exp.cache import Entry
from ssah_exp.pipeline.progress import Reporter


def test_a_stage_is_one_line_however_long_its_name(tmp_path: Path) -> None:
    lines = StringIO()
    reporter = Reporter(Console(file=lines, width=80), bars=False)
    key = "22e74666e879f9467c6e578e"
    name = "attack prefill_refusing SCU/pooled/random/0"
    reporter.begin(f"{name}, which is announced with a sentence of more than eighty characters")
    reporter.done(name, Entry(tmp_path, key, "attempts", "digest", cached=True, seconds=0.0))
    announced, done = lines.getvalue().splitlines()
    assert announced.endswith("characters ...")
    assert done.split() == ["cached", *name.split(), "0.0", "s", key]


def test_what_is_named_is_printed_as_it_is_named(tmp_path: Path) -> None:
    """rich takes brackets for markup: it would leave them out, or fail at one that closes."""
    lines = StringIO()
    reporter = Reporter(Console(file=lines, width=80, force_terminal=True), bars=True)
    reporter.begin("loading [/x] of [dense 0]")
    reporter.done("answers [x]", Entry(tmp_path, "key", "answers", "digest", True, 0.0))
    with reporter.bar("[/dense 0] answers", 1) as advance:
        advance(1)
    for text in ("loading [/x] of [dense 0]", "answers [x]", "[/dense 0] answers"):
        assert text in lines.getvalue()


@pytest.mark.parametrize("bars", [True, False])
def test_who_watches_is_told_what_is_begun_and_how_far_it_is(bars: bool) -> None:
    """A job of a sweep has no bars, and `status` shows it all the same."""
    told: list[str] = []
    reporter = Reporter(Console(file=StringIO()), bars=bars, watch=told.append)
    reporter.begin("train [full]")
    with reporter.bar("answers", 9) as advance:
        advance(2)
        advance(3)
    assert told == ["train [full]", "answers 2/9", "answers 5/9"]

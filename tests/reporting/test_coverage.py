"""Answers that a judge left unscored, under a table and in its csv."""

from __future__ import annotations

from dataclasses import replace

from ssah_exp.evaluation.intervals import rate
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from tests.records.synthetic import arms, record


def judged(seed: int, scored: dict[str, int], **changes: object) -> RunRecord:
    """Every arm's hundred answers, of which a judge scored so many; all where none is named."""
    made = [
        replace(
            item,
            metrics={
                **item.metrics,
                "asr/raw/hexphi": rate(1, scored.get(item.name, 100), 0.95),
                "coverage/raw/hexphi": rate(scored.get(item.name, 100), 100, 0.95),
            },
        )
        for item in arms()
    ]
    return record(seed, arms=made, **changes)


def test_scored_and_asked_stand_below_the_table_summed_over_seeds_and_draws() -> None:
    runs = [
        judged(0, {"aligned": 50, "SCU/pooled/random/1": 99}, status="incomplete"),
        judged(1, {"aligned": 0}),
    ]
    table = render_artefact(runs, "markdown")
    assert (
        "scored of asked, hexphi (raw): aligned 50 of 200, random like SCU/pooled 599 of 600. "
        f"Incomplete, because a judge failed: {runs[0].run_id};" in table
    )


def test_the_csv_has_the_coverage_that_is_not_whole() -> None:
    lines = render_artefact([judged(0, {"aligned": 50})], "csv").splitlines()
    assert any("coverage/raw/hexphi,0.5," in line and ",aligned," in line for line in lines)


def test_where_all_was_scored_nothing_is_said() -> None:
    for form in ("markdown", "csv"):
        whole = render_artefact([judged(0, {})], form)
        assert "coverage" not in whole
        assert "scored of asked" not in whole

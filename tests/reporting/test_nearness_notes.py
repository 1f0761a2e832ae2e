"""What stands below a table whose controls are matched in how far means move, or in norms."""

from __future__ import annotations

from dataclasses import replace

from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.report.sections import sections
from ssah_exp.reporting.table1 import render_pruning
from tests.records.synthetic import arm, arms, record

SAID = "How far the means of a set's units move"


def with_shifts(*of_class: float) -> list[list[ArmRecord]]:
    """By seed, the class and one control of each of two kinds."""
    return [
        [
            *(replace(item, shift=value) if item.fill else item for item in arms()),
            arm("SCU/pooled/shifted/0", 0.2, shift=value / 2, units=10 + seed),
        ]
        for seed, value in enumerate(of_class)
    ]


def test_every_set_has_its_units_and_its_smallest_and_largest_shift() -> None:
    text = render_pruning(
        [record(seed, arms=made) for seed, made in enumerate(with_shifts(3.0, -1.5))], "markdown"
    )
    assert (
        f"{SAID} between the calibration sets, in standard deviations over the heads or neurons of "
        "their block: SCU/pooled -1.50 to 3.00 (10 units); random like SCU/pooled -1.50 to 3.00 "
        "(10 units); shifted like SCU/pooled -0.75 to 1.50 (10 to 11 units)."
    ) in text


def test_controls_of_equal_norm_are_said_beside_them() -> None:
    made = [replace(item, norm=0.5) if item.fill else item for item in with_shifts(3.0)[0]]
    made.append(arm("SCU/pooled/normed/0", 0.2, norm=0.25, units=10))
    text = render_pruning([record(arms=made)], "markdown")
    assert SAID in text
    assert (
        "How large the weights behind a set's units are, in standard deviations over the heads or "
        "neurons of their block: SCU/pooled 0.50 (10 units); random like SCU/pooled 0.50 "
        "(10 units); shifted like SCU/pooled 0.50 (10 units); normed like SCU/pooled 0.25 "
        "(10 units)."
    ) in text


def test_the_page_says_it_too() -> None:
    (section,) = sections([record(arms=with_shifts(3.0)[0])])
    (measured, *_) = section.settings[0].tables
    assert any(SAID in note for note in measured.notes)


def test_tables_without_such_controls_say_nothing_of_it() -> None:
    (made,) = with_shifts(3.0)
    assert SAID not in render_pruning([record(arms=made[:-1])], "markdown")


def test_a_record_of_an_earlier_version_leaves_its_sets_out() -> None:
    before = [replace(item, shift=None) for item in with_shifts(9.0)[0]]
    text = render_pruning(
        [record(0, arms=before), record(1, arms=with_shifts(9.0, 3.0)[1])], "markdown"
    )
    assert "SCU/pooled 3.00 (10 units)" in text

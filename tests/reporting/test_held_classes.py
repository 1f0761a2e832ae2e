"""What a setting's page says of the classes that controls and named sets hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.notes.held_classes import TITLE
from ssah_exp.reporting.report.sections import sections
from ssah_exp.reporting.table1 import render_pruning
from tests.records.synthetic import arm, arms, record
from tests.reporting.test_table1 import markdown_row

SHARES = ((0.1, 0.5), (0.2, 0.5), (0.3, 0.5))


def with_shares() -> list[ArmRecord]:
    """Three draws of a control, the class itself, and a set of a user's own."""
    itself = {"SCU": 1.0, "UCU": 0.0, "CU": 0.0}
    made = [replace(item, class_shares=itself) if item.fill else item for item in arms()]
    for place, (scu, cu) in enumerate(SHARES, start=3):
        made[place] = replace(made[place], class_shares={"SCU": scu, "UCU": 0.0, "CU": cu})
    return [*made, arm("mine/pooled", 0.2, class_shares={"SCU": 0.123456, "UCU": 0.0, "CU": 0.0})]


def test_controls_and_named_sets_have_a_line_and_classes_have_none() -> None:
    text = render_pruning([record(arms=with_shares())], "markdown")
    _, _, below = text.partition(TITLE)
    assert markdown_row(below, "random like SCU/pooled")[1:4] == ["10 to 30", "0", "50"]
    assert markdown_row(below, "mine/pooled")[1:4] == ["12.3", "0", "0"]
    head, _, lines = below.strip().partition("\n")
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["set", "SCU", "UCU", "CU"]
    assert [line.split("|")[1].strip() for line in lines.split("\n\n")[0].splitlines()[1:]] == [
        "random like SCU/pooled",
        "mine/pooled",
    ]


def test_a_class_that_is_empty_under_some_seeds_has_what_the_others_hold() -> None:
    seeds = [with_shares(), with_shares()]
    seeds[1] = [
        replace(item, class_shares={"SCU": 0.4}) if item.control else item for item in seeds[1]
    ]
    text = render_pruning([record(seed, arms=made) for seed, made in enumerate(seeds)], "markdown")
    row = markdown_row(text.partition(TITLE)[2], "random like SCU/pooled")
    assert row[1:4] == ["10 to 40", "0", "50"]


def test_records_of_earlier_versions_say_nothing_of_it() -> None:
    assert TITLE not in render_pruning([record()], "markdown")


@pytest.mark.parametrize(("made", "there"), [(with_shares(), True), (arms(), False)])
def test_the_page_has_it_as_a_table_below_what_was_measured(
    made: list[ArmRecord], there: bool
) -> None:
    (section,) = sections([record(arms=made)])
    captions = [table.caption for table in section.settings[0].tables]
    assert (captions[1] == TITLE.rstrip(":") + ".") is there
    if there:
        assert section.settings[0].tables[1].rows[0] == [
            "random like SCU/pooled",
            "10 to 30",
            "0",
            "50",
        ]

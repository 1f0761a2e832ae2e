"""What ``make test`` leaves out is marked, and nothing else."""

from __future__ import annotations

from tests.thinning import thinned


def test_each_eighth_case_is_taken_and_every_other_one_is_marked() -> None:
    cases = thinned([*range(15), ("a", "b"), ("c", "d")])
    left_out = {case.values for case in cases if case.marks}
    assert {case.values for case in cases} - left_out == {(0,), (8,), ("c", "d")}
    assert {mark.name for case in cases for mark in case.marks} == {"exhaustive"}

"""Sets made of sets: the share asked for, by the seed, and refused where it cannot be had."""

from __future__ import annotations

import pytest

from ssah_exp.data.mixtures import Poisoned, Unseen
from ssah_exp.data.sources import Example
from ssah_exp.errors import DataError


class Fixed:
    """A source of given examples that counts how often it was asked, with which seeds."""

    def __init__(self, *prompts: str) -> None:
        self.rows = [Example(prompt, f"answer to {prompt}") for prompt in prompts]
        self.seeds: list[int] = []

    def load(self, seed: int) -> list[Example]:
        self.seeds.append(seed)
        return list(self.rows)


def numbered(name: str, count: int) -> Fixed:
    return Fixed(*(f"{name} {number}" for number in range(count)))


def mixed(share: float, total: int | None = None, seed: int = 0) -> list[str]:
    source = Poisoned(numbered("benign", 40), numbered("harmful", 20), share, total)
    return [row.prompt for row in source.load(seed)]


def harmful(prompts: list[str]) -> set[str]:
    return {prompt for prompt in prompts if prompt.startswith("harmful")}


@pytest.mark.parametrize(
    ("share", "total", "count", "size"),
    [
        (0.1, None, 4, 40),
        (0.5, None, 20, 40),
        (0.1, 30, 3, 30),
        (0.33, 30, 10, 30),
        (1.0, 20, 20, 20),
        (0.04, 30, 1, 30),
    ],
)
def test_the_share_is_the_one_asked_for(
    share: float, total: int | None, count: int, size: int
) -> None:
    prompts = mixed(share, total)
    assert len(harmful(prompts)) == count
    assert len(set(prompts)) == len(prompts) == size


def test_share_0_is_the_benign_set_and_reads_no_harmful_file() -> None:
    benign, unread = numbered("benign", 40), numbered("harmful", 20)
    assert Poisoned(benign, unread, 0).load(3) == benign.rows
    assert Poisoned(benign, unread, 0, 40).load(3) == benign.rows
    assert unread.seeds == []


def test_share_0_of_fewer_examples_keeps_their_order() -> None:
    benign = numbered("benign", 40)
    drawn = Poisoned(benign, Fixed(), 0, 10).load(3)
    assert [row for row in benign.rows if row in drawn] == drawn
    assert len(drawn) == 10
    assert drawn != benign.rows[:10]


def test_examples_arrive_whole() -> None:
    rows = Poisoned(numbered("benign", 4), numbered("harmful", 4), 0.5).load(0)
    assert all(row.response == f"answer to {row.prompt}" for row in rows)


def test_the_seed_decides_and_reaches_both_sources() -> None:
    assert mixed(0.25, 30, seed=5) == mixed(0.25, 30, seed=5)
    draws = {seed: mixed(0.25, 30, seed) for seed in range(20)}
    assert len({tuple(draw) for draw in draws.values()}) == 20
    assert len({frozenset(harmful(draw)) for draw in draws.values()}) > 10
    benign, bad = numbered("benign", 4), numbered("harmful", 4)
    Poisoned(benign, bad, 0.5).load(7)
    assert benign.seeds == bad.seeds == [7]


def test_harmful_examples_are_spread_over_the_set() -> None:
    places = [
        place
        for seed in range(50)
        for place, prompt in enumerate(mixed(0.25, seed=seed))
        if prompt.startswith("harmful")
    ]
    assert len(places) == 500
    assert 17 < sum(places) / len(places) < 22
    assert {0, 39} <= set(places)


def test_a_larger_share_holds_the_harmful_examples_of_a_smaller_one() -> None:
    sizes = [harmful(mixed(share, 30, seed=2)) for share in (0.1, 0.2, 0.5)]
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan"), 10.0])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(DataError, match=rf"harmful_share={share:g} lies outside \[0, 1\]"):
        mixed(share)


def test_a_share_of_less_than_one_example_is_refused() -> None:
    with pytest.raises(DataError, match=r"harmful_share=0.01 of 40 examples is less than one"):
        mixed(0.01)


@pytest.mark.parametrize(("share", "total"), [(0.015, 40), (0.024, 40), (0.033, 30), (1e-12, 40)])
def test_less_than_one_is_not_rounded_up(share: float, total: int) -> None:
    with pytest.raises(DataError, match=f"of {total} examples is less than one"):
        mixed(share, total)


def test_noise_of_floats_makes_one_example_not_less() -> None:
    assert 1 / 49 * 49 < 1, "else the test says nothing"
    for share, total in ((0.01, 100), (1 / 49, 49), (0.025, 40)):
        source = Poisoned(numbered("benign", total), numbered("harmful", 20), share)
        assert len(harmful([row.prompt for row in source.load(0)])) == 1


@pytest.mark.parametrize(("share", "count"), [(0.15, 2), (0.25, 2), (0.26, 3), (0.35, 4)])
def test_halves_go_to_the_even_number(share: float, count: int) -> None:
    """Of ten examples; three of the products are 1.5, 2.5 and 3.5 to the last bit."""
    assert len(harmful(mixed(share, 10))) == count


@pytest.mark.parametrize("total", [0, -3])
def test_a_total_below_1_is_refused(total: int) -> None:
    with pytest.raises(DataError, match=f"total={total} is below 1"):
        mixed(0.5, total)


def test_too_few_rows_are_refused_with_both_numbers() -> None:
    with pytest.raises(DataError, match="needs 21 harmful examples; 20 are there"):
        mixed(0.5, 42)
    with pytest.raises(DataError, match="needs 45 benign examples; 40 are there"):
        mixed(0.1, 50)


def test_what_was_seen_is_left_out_whatever_its_case_and_marks() -> None:
    source = Fixed("Say hello!", "Name a fish.", "Count to ten.")
    seen = [Fixed("say  hello"), Fixed("Count, to ten", "other")]
    assert [row.prompt for row in Unseen(source, seen).load(0)] == ["Name a fish."]


def test_the_seed_decides_what_was_seen_and_what_is_drawn() -> None:
    source, seen = numbered("row", 30), numbered("row", 10)
    draws = {seed: Unseen(source, [seen], 5).load(seed) for seed in range(20)}
    assert seen.seeds == source.seeds == list(range(20))
    assert Unseen(source, [seen], 5).load(4) == draws[4]
    assert len({tuple(draw) for draw in draws.values()}) == 20
    for draw in draws.values():
        assert len(set(draw)) == 5
        assert not set(draw) & set(seen.rows)


def test_nothing_seen_leaves_everything() -> None:
    source = numbered("row", 3)
    assert Unseen(source, []).load(0) == source.rows


def test_too_few_unseen_examples_are_refused() -> None:
    source = numbered("row", 6)
    with pytest.raises(DataError, match="5 unseen examples asked for, 4 there"):
        Unseen(source, [numbered("row", 2)], 5).load(0)
    with pytest.raises(DataError, match="1 unseen examples asked for, 0 there"):
        Unseen(source, [source]).load(0)
    for sample in (0, -1):
        with pytest.raises(DataError, match=f"sample={sample} is below 1"):
            Unseen(source, [numbered("row", 2)], sample).load(0)

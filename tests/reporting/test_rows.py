"""Rows of a table: one seed, several seeds, control draws."""

from __future__ import annotations

import math
import statistics
import warnings
from dataclasses import replace

import pytest
from scipy import stats

from ssah_exp.errors import SsahWarning
from ssah_exp.evaluation.intervals import Estimate, mean_of_rates, rate
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.rows import Cell, Row, blocks
from tests.records.synthetic import JUDGE, arm, arms, metrics, record, training_record

ASR = f"asr/raw/{JUDGE}"
GAP = Estimate(None, None, None, 0, "prompts", "Wilson 95%")


def row_of(rows: list[Row], label: str, control: str | None = None) -> Row:
    (found,) = [row for row in rows if row.label == label and row.control == control]
    return found


def cell_of(*records: RunRecord, label: str = "SCU", control: str | None = None) -> Cell:
    (block,) = blocks(records)
    return row_of(block.rows, label, control).cells[ASR]


def test_rows_keep_the_order_of_the_arms_and_gather_controls() -> None:
    (block,) = blocks([record()])
    assert [(row.label, row.control) for row in block.rows] == [
        ("unaligned", None),
        ("aligned", None),
        ("SCU", None),
        ("SCU", "random"),
    ]


def test_one_seed_shows_the_wilson_interval() -> None:
    cell, expected = cell_of(record()), rate(60, 100, 0.95)
    assert (cell.value, cell.low, cell.high) == (expected.value, expected.low, expected.high)
    assert (cell.method, cell.n, cell.repeats, cell.spread) == ("Wilson 95%", 100, 1, None)


def test_three_seeds_that_differ_show_students_t() -> None:
    shifts = (0.0, 0.12, -0.15)
    cell = cell_of(*(record(seed, arms=arms(shift)) for seed, shift in enumerate(shifts)))
    values = [0.6 + shift for shift in shifts]
    low, high = stats.t.interval(0.95, 2, statistics.mean(values), stats.sem(values))
    assert cell.value == pytest.approx(statistics.mean(values))
    assert (cell.low, cell.high) == pytest.approx((low, high))
    assert cell.method.startswith("envelope of Student t over seeds")
    assert cell.repeats == 3


def test_three_seeds_that_agree_still_show_the_prompts_uncertainty() -> None:
    cell, prompts = cell_of(*(record(seed) for seed in range(3))), rate(60, 100, 0.95)
    assert (cell.low, cell.high) == pytest.approx((prompts.low, prompts.high))


def test_a_perplexity_alike_in_all_seeds_keeps_the_interval_over_windows() -> None:
    rounded = metrics(0.1, 2.0 + 1e-5)  # as batches of another size give it
    (block,) = blocks(
        [record(0), record(1), record(2, arms=[arm("aligned", 0.1, metrics=rounded)])]
    )
    cell = row_of(block.rows, "aligned").cells["perplexity"]
    one = record().arms[1].metrics["perplexity"]
    assert one.low is not None
    assert (cell.value, cell.low, cell.high) == (one.value, one.low, one.high)
    assert cell.method == f"{one.method}; all 3 seeds alike"
    assert cell.repeats == 3


def test_controls_show_mean_sd_and_range_over_draws() -> None:
    cell = cell_of(record(), control="random")
    assert cell.value == pytest.approx(0.2)
    assert cell.spread == pytest.approx(0.1)
    assert (cell.low, cell.high) == pytest.approx((0.1, 0.3))
    assert (cell.repeats, cell.method) == (3, "range over draws")


def test_draws_that_agree_have_no_spread_at_all() -> None:
    """The mean of equal values is rounded, too: 12 x 0.1 spread by 1e-17."""
    alike = [arm(f"SCU/pooled/random/{draw}", 0.1) for draw in range(12)]
    cell = cell_of(record(arms=[arm("aligned", 0.1), *alike]), control="random")
    assert (cell.repeats, cell.spread) == (12, 0.0)


def test_controls_gather_draws_over_all_seeds() -> None:
    cell = cell_of(record(0), record(1, arms=arms(0.05)), control="random")
    assert cell.repeats == 6
    assert (cell.low, cell.high) == pytest.approx((0.1, 0.35))
    assert cell.spread == pytest.approx(statistics.stdev([0.1, 0.2, 0.3, 0.15, 0.25, 0.35]))


def test_perplexities_of_controls_are_gathered_as_those_of_seeds_are() -> None:
    """One destroyed draw is not the typical one, and arm and control stand in one column."""
    losses = (3.0, 3.2, 6.0)
    made = [arm("aligned", 0.1)]
    made += [
        arm(f"SCU/pooled/random/{draw}", 0.2, metrics=metrics(0.2, loss))
        for draw, loss in enumerate(losses)
    ]
    (block,) = blocks([record(arms=made)])
    cell = row_of(block.rows, "SCU", "random").cells["perplexity"]
    logs = [loss + 0.1 for loss in losses]
    assert cell.value == pytest.approx(math.exp(statistics.mean(logs)))
    assert cell.spread == pytest.approx(math.exp(statistics.stdev(logs)))
    assert (cell.low, cell.high) == pytest.approx((math.exp(logs[0]), math.exp(logs[-1])))
    assert cell.method == "range over draws; geometric mean and sd"
    seeds = [
        record(seed, arms=[arm("aligned", 0.1, metrics=metrics(0.1, loss))])
        for seed, loss in enumerate(losses)
    ]
    (as_seeds,) = blocks(seeds)
    assert cell.value == pytest.approx(as_seeds.rows[0].cells["perplexity"].value)


def test_one_control_draw_has_no_spread() -> None:
    single = [arm("aligned", 0.1), arm("SCU/pooled", 0.6), arm("SCU/pooled/random/0", 0.2)]
    assert cell_of(record(arms=single), control="random").spread is None


def test_one_control_draw_has_its_own_interval() -> None:
    """A range of one draw would have no width and look like certainty."""
    cell = cell_of(
        record(arms=[arm("aligned", 0), arm("SCU/pooled/random/0", 0.3)]), control="random"
    )
    own = rate(30, 100, 0.95)
    assert (cell.value, cell.low, cell.high) == (own.value, own.low, own.high)
    assert cell.method == "Wilson 95%"


def test_so_has_the_only_draw_that_was_measured() -> None:
    made = [arm("aligned", 0), arm("SCU/pooled/random/0", 0.3)]
    gap = arm("SCU/pooled/random/1", 0.3)
    made.append(replace(gap, metrics={**gap.metrics, ASR: GAP}))
    cell = cell_of(record(arms=made), control="random")
    own = rate(30, 100, 0.95)
    assert (cell.value, cell.low, cell.high, cell.spread) == (own.value, own.low, own.high, None)


def over_seeds(name: str, estimates: list[Estimate]) -> Cell:
    """SCU's cell of a metric that each seed gives another estimate of."""
    made = [
        record(seed, arms=[replace(item, metrics={**item.metrics, name: one}) for item in arms()])
        for seed, one in enumerate(estimates)
    ]
    for run in made:
        run.config["utility"] = {"tasks": ["piqa", "rte"], "metric": "acc"}
    (block,) = blocks(made)
    return row_of(block.rows, "SCU").cells[name]


def test_a_mean_of_tasks_has_no_more_questions_than_its_smallest_task_lets_it_have() -> None:
    """Pooled, the large task's questions would make the small one's rate look certain."""
    one = mean_of_rates([(50, 100), (7021, 14042)], 0.95, "questions")
    cell = over_seeds("utility/mean", [one] * 3)
    assert (cell.value, cell.low, cell.high) == pytest.approx((one.value, one.low, one.high))
    apart = [mean_of_rates([(count, 100), (7021, 14042)], 0.95) for count in (40, 50, 60)]
    values = [item.value for item in apart if item.value is not None]
    low, high = stats.t.interval(0.95, 2, statistics.fmean(values), stats.sem(values))
    cell = over_seeds("utility/mean", apart)
    assert (cell.low, cell.high) == pytest.approx((low, high))


def test_coverage_over_seeds_is_a_rate() -> None:
    cell = over_seeds("mt_bench/coverage", [rate(n, 160, 0.95, "turns") for n in (150, 120, 90)])
    assert cell.value == pytest.approx(0.75)
    assert cell.high == 1.0


def test_the_newest_record_of_a_seed_counts() -> None:
    old = record(0, arms=arms(0.1), finished="2025-01-01T00:00:00+00:00")
    cell = cell_of(record(0), old)
    assert cell.value == pytest.approx(0.6)
    assert cell.repeats == 1


def test_other_settings_are_another_block() -> None:
    other = record(1)
    other.config["units"]["budgets"]["scu"] = 0.05
    assert [len(block.records) for block in blocks([record(0), other])] == [1, 1]


def without(name: str) -> list[ArmRecord]:
    """The arms with one metric of SCU not measured."""
    made = arms()
    made[2] = replace(made[2], metrics={**made[2].metrics, name: GAP})
    return made


def test_a_missing_value_stays_a_gap() -> None:
    cell = cell_of(record(arms=without(ASR)))
    assert (cell.value, cell.low, cell.high) == (None, None, None)
    assert cell.method == "nothing measured"


def test_a_seed_without_a_value_does_not_count_as_zero() -> None:
    cell = cell_of(record(0), record(1, arms=without(ASR)))
    assert cell.value == pytest.approx(0.6)
    assert cell.repeats == 1
    assert cell == cell_of(record(0)), "its own interval, as it stands in a table of one seed"


def test_an_overflowed_perplexity_has_no_spread_and_no_interval() -> None:
    endless = Estimate(math.inf, None, None, 3, "windows", "")
    made = [arm("aligned", 0.1), arm("SCU/pooled", 0.6)]
    made += [arm(f"SCU/pooled/random/{draw}", 0.2) for draw in range(2)]
    broken = [replace(item, metrics={**metrics(0.2), "perplexity": endless}) for item in made]
    (block,) = blocks([record(0, arms=made), record(1, arms=broken)])
    cells = [row.cells["perplexity"] for row in block.rows]
    assert [cell.value for cell in cells] == [math.inf] * 3
    assert [cell.spread for cell in cells] == [None] * 3
    assert (cells[0].low, cells[0].high) == (None, None)


def test_over_seeds_the_fewest_prompts_make_the_interval() -> None:
    """A judge that failed in one seed scored fewer there than the first seed says."""
    few = rate(6, 10, 0.95)
    second = [replace(item, metrics={**item.metrics, ASR: few}) for item in arms()]
    cell = cell_of(record(0), record(1, arms=second))
    assert (cell.n, cell.value) == (10, pytest.approx(0.6))
    assert (cell.low, cell.high) == pytest.approx((few.low, few.high))


def test_the_csv_has_what_other_judges_and_single_attempts_gave_and_the_table_has_not() -> None:
    evaluation = {"attacks": {"gcg": {"styles": ["raw"], "requests": 10}}, "mean_with": "gcg"}
    under = ("asr/raw+gcg", "asr/mean+gcg", "asr/raw+gcg#1")
    given = {f"{name}/{JUDGE}": rate(at, 10, 0.95) for at, name in enumerate(under, start=3)}
    other = ("asr/raw/guard", "benign_refusal/chat/guard", "score/raw/guard")
    given |= {name: rate(7, 10, 0.95) for name in other}
    made = record(arms=[replace(item, metrics={**item.metrics, **given}) for item in arms()])
    made.config["evaluation"] |= evaluation
    (block,) = blocks([made])
    shown = [name for name in block.metrics if name.startswith("asr")]
    styles = ("raw", "raw_system", "mean", "raw+gcg", "mean+gcg")
    assert shown == [f"asr/{style}/{JUDGE}" for style in styles]
    cells = row_of(block.rows, "SCU").cells
    assert list(cells) == [*block.metrics, *sorted({*given} - {*shown})]
    assert (cells[f"asr/raw+gcg/{JUDGE}"].value, cells[f"asr/raw+gcg/{JUDGE}"].n) == (0.3, 10)
    assert cells[f"asr/raw+gcg#1/{JUDGE}"].value == 0.5
    assert {cells[name].value for name in other} == {0.7}


@pytest.mark.parametrize("asked", [0, 1])
def test_a_judge_that_was_asked_later_of_one_seed_stands_in_the_csv(asked: int) -> None:
    """It did where that was the first seed alone."""
    runs = [record(seed) for seed in (0, 1)]
    guarded = [
        replace(item, metrics={**item.metrics, "asr/raw/guard": rate(7, 10, 0.95)})
        for item in runs[asked].arms
    ]
    runs[asked] = replace(runs[asked], arms=guarded)
    (block,) = blocks(runs)
    assert "asr/raw/guard" not in block.metrics
    cells = [row.cells["asr/raw/guard"] for row in block.rows if row.control is None]
    assert {(cell.value, cell.n, cell.repeats) for cell in cells} == {(0.7, 10, 1)}


def test_one_name_of_several_judges_has_no_mean_over_seeds() -> None:
    """As of an endpoint's judge that was asked after the runs, of one seed with another model."""
    given = {"asr/raw/gpt": rate(7, 10, 0.95)}
    guarded = [replace(item, metrics={**item.metrics, **given}) for item in arms()]
    for models, there in ((("a", "a"), True), (("a", "b"), False)):
        runs = [
            record(seed, arms=guarded, judges={"gpt": {"model": model}}, later=("gpt",))
            for seed, model in enumerate(models)
        ]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", SsahWarning)
            (block,) = blocks(runs)
        assert any("differ in model" in str(item.message) for item in said) != there
        assert all(("asr/raw/gpt" in row.cells) == there for row in block.rows)


def test_a_control_is_as_large_as_its_draws_are_on_average() -> None:
    """Not as large as the middle one: draws matched in shift differ in number."""
    sizes = ((0.01, 0.02), (0.02, 0.02), (0.06, 0.08))
    made = [arm("aligned", 0.1)]
    for draw, (units, parameters) in enumerate(sizes):
        name = f"SCU/pooled/shifted/{draw}"
        made.append(arm(name, 0.2, unit_share=units, parameter_share=parameters))
    (block,) = blocks([record(arms=made)])
    row = row_of(block.rows, "SCU", "shifted")
    assert (row.unit_share, row.parameter_share) == pytest.approx((0.03, 0.04))
    assert row.gathered == 3


def test_what_is_counted_keeps_the_n_of_the_first_run() -> None:
    """Batches and weights are no sample: fewer of them say nothing of certainty."""
    made = [training_record(seed) for seed in (0, 1)]
    for run, batches in zip(made, (30, 20), strict=True):
        for item in run.arms:
            item.metrics["epochs"] = Estimate(
                0.05 * batches, None, None, batches, "batches", "counted"
            )
    (block,) = blocks(made)
    cell = row_of(block.rows, "full").cells["epochs"]
    assert (cell.value, cell.n, cell.repeats) == (1.25, 30, 2)
    assert (cell.low, cell.high, cell.method) == (None, None, "mean, counted")

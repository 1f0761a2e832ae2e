"""Training tables in markdown and LaTeX, from records made by hand."""

from __future__ import annotations

import re
import statistics
from dataclasses import replace

import pytest
from scipy import stats

from ssah_exp.errors import StoreError
from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.beside_paper.benchmarks import attack_metric
from ssah_exp.reporting.model_card import model_card
from ssah_exp.reporting.training_table import render_training
from tests.records.synthetic import (
    metrics,
    record,
    trained_arm,
    trained_arms,
    training_record,
)
from tests.reporting.trainings import (
    ASR,
    GAP,
    HEADINGS,
    SHIFTS,
    measured,
    seeds,
    table,
    with_metric,
)


def test_each_artefact_has_its_table() -> None:
    assert "| setting_i" in render_artefact([training_record()], "markdown")
    assert "| SCU" in render_artefact([record()], "markdown")
    assert "training loss" not in render_artefact([record()], "markdown")
    with pytest.raises(StoreError, match="no records"):
        render_artefact([], "markdown")


def test_one_line_per_arm_with_its_loss_beside_its_asr() -> None:
    rows = table(render_training([training_record()], "markdown"))
    assert list(rows) == ["unaligned", "aligned", "full", "setting_i", "random like setting_i"]
    assert list(rows["full"]) == HEADINGS
    row = rows["setting_i"]
    assert row["policy"] == "freeze"
    assert (row["units %"], row["params %"]) == ("2.0", "1.0")
    assert (row["weights free %"], row["epochs"], row["training loss"]) == (
        "40.0",
        "1.5",
        "1.300",
    )
    assert row["ASR %, raw text"] == "30.0 [21.9, 39.6] †"
    assert row["perplexity"].startswith("8.2 [")


def test_what_was_not_trained_has_no_policy_and_gaps() -> None:
    rows = table(render_training([training_record()], "markdown"))
    for name, loss in (("unaligned", ""), ("aligned", "2.000")):
        row = rows[name]
        assert (row["policy"], row["units %"], row["params %"]) == ("-", "-", "-")
        assert (row["weights free %"], row["epochs"], row["training loss"]) == ("", "", loss)
    assert rows["full"]["policy"] == "none"
    assert rows["full"]["units %"] == "-"


def test_controls_are_mean_and_sd_with_their_range() -> None:
    row = table(render_training([training_record()], "markdown"))["random like setting_i"]
    assert row["policy"] == "freeze"
    assert row["training loss"] == "1.200 ± 0.100 [1.100, 1.300]"
    assert row["ASR %, raw text"] == "60.0 ± 10.0 [50.0, 70.0] †"
    assert (row["units %"], row["params %"]) == ("2.0", "1.0")


def test_controls_gather_draws_over_seeds() -> None:
    row = table(render_training(seeds(), "markdown"))["random like setting_i"]
    draws = [value + shift for value in (1.1, 1.2, 1.3) for shift in SHIFTS]
    wanted = f"{statistics.mean(draws):.3f} ± {statistics.stdev(draws):.3f} [1.050, 1.320]"
    assert row["training loss"] == wanted


def test_several_seeds_give_an_interval() -> None:
    text = render_training(seeds(), "markdown")
    row, values = table(text)["setting_i"], [1.3 + shift for shift in SHIFTS]
    low, high = stats.t.interval(0.95, 2, statistics.mean(values), stats.sem(values))
    assert row["training loss"] == f"1.290 [{low:.3f}, {high:.3f}]"
    rates = [0.3 + shift for shift in SHIFTS]
    over_seeds = stats.t.interval(0.95, 2, statistics.mean(rates), stats.sem(rates))
    over_prompts = rate(29, 100, 0.95)
    low = 100 * min(over_seeds[0], over_prompts.low)  # type: ignore[type-var]
    high = 100 * max(over_seeds[1], over_prompts.high)  # type: ignore[type-var]
    assert row["ASR %, raw text"] == f"29.0 [{low:.1f}, {high:.1f}] †"
    assert (row["epochs"], row["weights free %"]) == ("1.5", "40.0"), "counted, no interval"
    assert "seeds 0, 1, 2;" in text


def test_one_seed_has_no_interval_over_its_loss() -> None:
    assert table(render_training(seeds()[:1], "markdown"))["full"]["training loss"] == "1.200"


@pytest.mark.parametrize("value", [GAP, None], ids=["unscored", "absent"])
def test_gaps_stay_gaps(value: Estimate | None) -> None:
    made = training_record(arms=with_metric("setting_i", ASR, value))
    rows = table(render_training([made], "markdown"))
    assert rows["setting_i"]["ASR %, raw text"] == ""
    assert rows["setting_i"]["ASR %, raw text + system prompt"] == "30.0 [21.9, 39.6] †"
    cell = measured(made, "csv", "setting_i", ASR).iloc[0]
    assert cell[["value", "low", "high", "spread"]].isna().all()


def test_a_seed_without_a_value_does_not_count_as_zero() -> None:
    missing = training_record(1, arms=with_metric("full", "train_loss", None))
    row = table(render_training([training_record(0), missing], "markdown"))["full"]
    assert row["training loss"].startswith("1.200")


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100.0"), (0.0217, "2.2"), (0.000153, "0.015"), (0.00304, "0.3")]
)
def test_a_small_share_is_not_printed_as_none(share: float, text: str) -> None:
    value = Estimate(share, None, None, 40, "weights", "counted")
    made = training_record(arms=with_metric("setting_i", "trained_share", value))
    row = table(render_training([made], "markdown"))["setting_i"]
    assert row["weights free %"] == text


def adapters() -> RunRecord:
    names = ("full", "setting_i", "lora", "llama_adapter", "prefix", "setting_i/matched/0")
    made = [trained_arm(name, 0.4, 1.0) for name in names]
    return training_record(artefact="table3_peft", arms=made)


def test_policies_and_adapters_are_named() -> None:
    rows = table(render_training([adapters()], "markdown"))
    assert {name: row["policy"] for name, row in rows.items()} == {
        "full": "none",
        "setting_i": "freeze",
        "lora": "Lora",
        "llama_adapter": "LlamaAdapter",
        "prefix": "Prefix",
        "matched like setting_i": "freeze",
    }
    budgets = [trained_arm("ru20", 0.4, 1.0), trained_arm("ru20_lora", 0.4, 1.0)]
    rows = table(render_training([training_record(artefact="unit_lora", arms=budgets)], "markdown"))
    assert [row["policy"] for row in rows.values()] == ["budget", "UnitLora"]


@pytest.mark.parametrize(
    ("artefact", "row"),
    [
        ("table2_freezing", ["Llama-2-7B-Chat", "AdvBench", "keyword_pct", "0.19", "5.3", "2.96"]),
        ("table3_peft", ["Llama-2-7B-Chat", "Dolly", "high_harmfulness_rate_pct", "0.3", "9"]),
        ("table4_alignment_budget", ["Llama-7B", "sft_only_ru_20pct", "48.9", "77.5", "76.6"]),
    ],
)
@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_the_papers_rows_stand_below_ours(artefact: str, row: list[str], form: str) -> None:
    made = training_record(artefact=artefact, arms=[trained_arm("full", 0.4)])
    text = render_training([made], form)
    ours, _, paper = text.partition("Published")
    assert "full" in ours
    mark = "|" if form == "markdown" else "&"
    cells = [
        [cell.strip(" \\").replace("\\_", "_") for cell in line.strip("|").split(mark)]
        for line in paper.splitlines()
    ]
    assert row in [line[: len(row)] for line in cells]
    assert "nan" not in paper


@pytest.mark.parametrize("artefact", ["scu_only", "unit_lora"])
def test_what_the_paper_has_not_done_has_no_published_rows(artefact: str) -> None:
    name = {"scu_only": "scu_only", "unit_lora": "ru20"}[artefact]
    made = training_record(artefact=artefact, arms=[trained_arm(name, 0.4, 1.0)])
    assert "Published" not in render_training([made], "markdown")


def test_the_caption_says_what_was_done() -> None:
    made = training_record()
    text = render_training([made], "markdown").splitlines()[0]
    for part in (
        "the aligned model, sft on 300 examples of data.finetune, learning rate 2e-05, batch 16",
        "n = 100 harmful, 100 benign and 100 borderline prompts, 16 new tokens",
        "judge zou2023; budgets SCU 0.01 UCU 0.1 RU 0.1 of params",
        "nats per response token over 64 training examples; seed 0; 95% intervals: Wilson over "
        "prompts, bootstrap over text windows; controls:",
        "mean ± sd [range] over 1 draw a seed, perplexity geometric mean ×/÷ geometric sd",
        "a single draw its own interval",
    ):
        assert part in text


def test_a_note_says_how_much_of_their_set_controls_hold() -> None:
    """Of no set that its controls share nothing with, and not of arms that are no controls."""
    plain, shared = training_record(), training_record()
    for arm in plain.arms + shared.arms:
        if arm.training is not None:
            arm.training["overlap"] = 0.0 if arm.control else None
    assert "Units of a control" not in render_training([plain], "markdown")
    controls = [arm.training for arm in shared.arms if arm.control and arm.training]
    for training, overlap in zip(controls, (0.5, 0.9941, 0.7), strict=True):
        training["overlap"] = overlap
    note = "Units of a control that are in the set it stands beside: "
    lines = render_training([shared], "markdown").splitlines()
    assert f"{note}random like setting_i 50 to 99.4 %." in lines


def test_the_caption_says_what_intervals_over_seeds_are() -> None:
    made = [training_record(seed) for seed in (0, 1)]
    for item in made:
        item.config["evaluation"]["confidence"] = 0.9
        for arm in item.arms:  # perplexities that vary over seeds
            arm.metrics["perplexity"] = metrics(0.5, 2.0 + item.seed)["perplexity"]
    assert (
        "seeds 0, 1; 90% intervals: rates the envelope of t over seeds and Wilson over prompts, "
        "perplexity and training loss t; controls:"
    ) in render_training(made, "markdown")


def test_the_caption_counts_what_was_really_read() -> None:
    """Fewer examples than asked for, and not the same number under every seed."""
    few = Estimate(1.0, None, None, 10, "examples", "fixed sample")
    made = []
    for seed, count in ((0, 10), (1, 12)):
        arms = [
            replace(
                trained_arm(name, 0.5),
                training={"examples": count, "steps": 3, "epochs": 1.0},
                metrics={**trained_arm(name, 0.5).metrics, "train_loss": few},
            )
            for name in ("full", "setting_i")
        ]
        made.append(training_record(seed, arms=arms))
    text = render_training(made, "markdown")
    assert "sft on 10 to 12 examples of" in text
    assert "over 10 training examples" in text


def test_settings_that_differ_get_a_table_each() -> None:
    other = training_record(1)
    other.config["training"]["learning_rate"] = 1e-4
    text = render_training([training_record(0), other], "markdown")
    assert text.count("| setting_i ") == 2
    assert "learning rate 2e-05" in text
    assert "learning rate 0.0001" in text
    assert text.count("\nPublished") == 1


def test_latex_escapes_what_would_be_a_command() -> None:
    text = render_training([training_record()], "latex")
    assert re.findall(r"(?<!\\)[%_#$~^±×÷]", text) == []
    assert r"weights free \%" in text
    assert r"setting\_i" in text
    assert r"60.0 \(\pm\) 10.0 [50.0, 70.0]" in text
    opened = re.findall(r"\\begin{(\w+)}", text)
    assert opened == re.findall(r"\\end{(\w+)}", text) == ["tabular", "tabular"]
    assert text.count("{") == text.count("}")


def test_every_latex_row_has_the_declared_number_of_columns() -> None:
    text = render_training([training_record()], "latex")
    parts = re.findall(r"\\begin{tabular}(.*?)\\end{tabular}", text, flags=re.DOTALL)
    assert parts
    for part in parts:
        columns = len(re.match(r"{(l+)}", part).group(1))  # type: ignore[union-attr]
        rows = [line for line in part.splitlines() if line.endswith(r"\\")]
        assert len(rows) >= 5
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}


def test_a_mean_that_one_seed_lacks_says_how_many_it_is_of() -> None:
    *whole, last = seeds()
    changed = replace(last, arms=with_metric("full", ASR, GAP))
    text = render_training([*whole, changed], "markdown")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    assert rows["full"].count("(2 of 3)") == 1
    assert "(2 of 3)" not in rows["unaligned"]


def test_records_that_say_little_of_their_trainings_have_a_table() -> None:
    """Of an earlier version, or of models before training alone."""
    silent = [replace(item, training=item.training and {"steps": 3}) for item in trained_arms()]
    made = training_record(arms=silent)
    assert "model, sft on examples of data.finetune, learning" in render_training(
        [made], "markdown"
    )
    dense = training_record(arms=trained_arms()[:2])
    text = render_training([dense], "markdown")
    assert "training loss in nats per response token; seed 0;" in text
    assert "| aligned" in text


def test_an_attack_that_says_no_kind_is_none_of_the_papers() -> None:
    assert attack_metric(record(attacks={"a": {"source": "s"}}), "gcg", "zou2023") is None


def test_a_model_card_of_a_training_without_a_certificate_claims_none() -> None:
    made = trained_arm("full", 0.5)
    for said, start in (
        ({"policy": "none"}, "Fine-tuned under policy `none`."),
        ({}, "Fine-tuned."),
    ):
        silent = replace(made, training={**said, "certificate": None})
        text = model_card(training_record(), silent)
        assert f"{start} The run kept no certificate of which weights changed." in text

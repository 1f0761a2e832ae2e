"""Ours beside the paper's: who stands beside whom, differences, marks, gaps."""

from __future__ import annotations

import json
import math
import os
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ssah_exp.config.artefacts import PROBE
from ssah_exp.config.judge_files import read_judges
from ssah_exp.config.schema import UtilityConfig
from ssah_exp.config.utility import TASK_METRICS
from ssah_exp.data.datasets import load_data
from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.evaluation.mt_bench.names import TURN_NAMES
from ssah_exp.evaluation.utility.metrics import utility_metrics
from ssah_exp.evaluation.utility.outcomes import TaskOutcomes
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import read_folder
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.beside_paper.benchmarks import SIX
from ssah_exp.reporting.beside_paper.pair import sources_of
from ssah_exp.reporting.beside_paper.protocol import benchmark_of
from ssah_exp.reporting.beside_paper.table import difference_text, measured_pairs, wide
from ssah_exp.reporting.beside_paper.training import trained_on
from tests.config.composing import config_of
from tests.records.synthetic import JUDGE, arm, metrics, record, trained_arm, training_record
from tests.reporting.beside import changed, pair, pairs

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
ROOT = os.environ.get("SSAH_DATA_ROOT")
# Contents of files that data=paper_files reads.
GOALS = "8ca4fa2fde4db0c4cb5eff01454d162e78edadb37894f6f859355c587c703ddb"
TOKENISED = "7960c99a59b61fae5f0bcb87c4a348ec841626de09470b38d793b652365e5827"


def test_each_class_stands_beside_its_published_row() -> None:
    found = pair(record(), "SCU", f"asr/raw/{JUDGE}", "Llama-3-8B")
    assert (found.measured, found.published) == (pytest.approx(0.6), 0.93)
    assert found.difference == pytest.approx(-0.33)
    dense = pair(record(), "aligned", "perplexity", "Mistral")
    published = pd.read_csv(EXPERIMENTS / "table1_pruning" / "published.csv")
    rows = published[(published["model"] == dense.source) & (published["group"] == "dense")]
    assert dense.published == rows["wikitext2_ppl"].item()
    assert dense.difference == pytest.approx(math.exp(2.1) - dense.published)


def test_llama_2s_printed_average_stands_beside_the_mean_with_an_attack() -> None:
    def attacked(config: dict[str, Any]) -> None:
        config["evaluation"] |= {
            "attacks": {"three": {"method": {}, "styles": ["raw"], "requests": None}},
            "mean_with": "three",
        }

    name = f"asr/mean+three/{JUDGE}"
    arms = [
        replace(item, metrics={**item.metrics, name: rate(62, 100, 0.95)}) for item in record().arms
    ]
    made = changed(record(arms=arms), attacked)
    found = pair(made, "SCU", name, "Llama-2")
    assert (found.measured, found.published) == (pytest.approx(0.62), 0.66)
    assert "mean: of raw and raw_system and raw+three for raw, raw_system and GCG" in found.differs
    plain = pair(made, "SCU", f"asr/mean/{JUDGE}", "Llama-3")
    assert (plain.measured, plain.published) == (pytest.approx(0.6), 0.865)
    with pytest.raises(ValueError, match="not enough values"):
        pair(made, "SCU", f"asr/mean/{JUDGE}", "Llama-2")


def test_units_are_compared_where_units_are_pruned() -> None:
    assert pair(record(), "SCU", "units_pct", "Llama-2").difference == pytest.approx(-0.0005)
    assert not [item for item in pairs(record()) if (item.arm, item.metric) == ("aligned", "units")]


def by_the_protocol(text: dict[str, Any], digest: str = "t", **perplexity: Any) -> RunRecord:
    """One of the paper's models by its protocol, with a text of ours.

    Args:
        text: Node of the text.
        digest: Hash of its content.
        **perplexity: Window, if not the paper's.
    """

    def protocol(config: dict[str, Any]) -> None:
        config["model"]["name"] = "Mistral-7B-Instruct-v0.2"
        config["data"] |= {"name": "paper_files", "text": text}
        config["evaluation"] |= {"max_new_tokens": 256, "harmful_styles": ["raw", "raw_system"]}
        config["evaluation"]["perplexity"] |= {"window": 4096, **perplexity}
        config["evaluation"]["primary_judge"] = "wei2024"
        config["data"]["safety_calibration"] = {"path": "own_refusals.csv"}

    arms = [replace(item, unit_share=0.02 if item.unit_class else 0.0) for item in record().arms]
    return replace(changed(record(arms=arms), protocol), inputs={"model": "m", "text": digest})


def text_node(data: str) -> dict[str, Any]:
    return deepcopy(dict(config_of(f"data={data}").data.text))


def test_the_papers_protocol_on_the_papers_model_has_no_marks() -> None:
    for data in ("paper_hub", "paper_files_raw_text"):
        made = by_the_protocol(text_node(data))
        assert {item.source for item in pairs(made)} == {"Mistral-7B-Instruct-v0.2"}
        assert {item.differs for item in pairs(made)} == {()}


def test_classes_of_other_sizes_than_the_papers_are_marked() -> None:
    """Mistral's SCU are printed as 2 % of its units, which 1 % of the parameters cannot be."""
    made = by_the_protocol(text_node("paper_hub"))
    for share, mark in ((0.0219, ()), (0.0221, ("size: 2.2 % of units for 2",)), (0.0124, None)):
        arms = [replace(item, unit_share=share) for item in made.arms]
        sized = replace(made, arms=arms)
        expected = ("size: 1.2 % of units for 2",) if mark is None else mark
        assert pair(sized, "SCU", "units_pct", "Mistral").differs == expected
        assert pair(sized, "SCU", "perplexity", "Mistral").differs == expected
        assert pair(sized, "aligned", "perplexity", "Mistral").differs == ()
    other = changed(made, lambda config: config["model"].update(name="Another"))
    assert not any("size" in text for item in pairs(other) for text in item.differs)


@pytest.mark.parametrize(
    ("model", "data", "whose"),
    [
        ("Mistral-7B-Instruct-v0.2", "paper_files_raw_text", "Llama-2's"),
        ("Llama-3-8B-Instruct", "paper_files_raw_text", "Llama-2's"),
        ("Llama-2-7B-Chat", "paper_files_raw_text", None),
        ("Llama-2-7B-Chat", "paper_hub", "this package's"),
        ("Another", "paper_files_raw_text", None),
    ],
)
def test_calibration_on_others_refusals_is_marked(model: str, data: str, whose: str | None) -> None:
    source = deepcopy(dict(config_of(f"data={data}").data.safety_calibration))

    def calibrated(config: dict[str, Any]) -> None:
        config["model"]["name"] = model
        config["data"]["safety_calibration"] = source

    found = pairs(changed(record(), calibrated))
    marks = {item.arm: {text for text in item.differs if "calib" in text} for item in found}
    assert marks["aligned"] == set()
    expected = {f"calibration: {whose} refusals for the model's own"} if whose else set()
    assert marks["SCU"] == marks["RU"] == expected


def test_the_text_cut_into_words_is_marked_beside_the_raw_one() -> None:
    made = by_the_protocol(text_node("paper_files"), TOKENISED)
    marks = {item.metric: item.differs for item in pairs(made) if item.differs}
    assert marks == {"perplexity": ("text: tokenised WikiText-2 for WikiText-2 raw",)}
    other = by_the_protocol(text_node("paper_files"))
    assert "text: paper_files for WikiText-2 raw" in pair(other, "RU", "perplexity", "M").differs


def test_the_text_of_the_committed_runs_is_the_one_cut_into_words() -> None:
    for made in read_folder(EXPERIMENTS / "table1_pruning" / "records"):
        known = made.inputs["text"] == TOKENISED
        assert known == made.config["data"]["name"].startswith("paper_files")


@pytest.mark.parametrize(
    ("model", "mark"),
    [
        ("Llama-2-7B-Chat", None),
        ("Llama-3-8B-Instruct", "window: 8192 for 4096"),
        ("new", "window: max for 4096"),
    ],
)
def test_the_longest_window_is_marked_where_it_is_not_the_papers(
    model: str, mark: str | None
) -> None:
    made = by_the_protocol(text_node("paper_hub"), window="max")
    made = changed(made, lambda config: config["model"].update(name=model))
    found = [item for item in pairs(made) if item.metric == "perplexity"]
    assert found
    windows = {text for item in found for text in item.differs if text.startswith("window")}
    assert windows == (set() if mark is None else {mark})


@pytest.mark.parametrize(
    ("key", "value", "mark"),
    [
        ("max_new_tokens", 16, "tokens: 16 for 256"),
        ("primary_judge", "other", "judge: other for wei2024"),
    ],
)
def test_every_mismatch_is_marked(key: str, value: object, mark: str) -> None:
    made = changed(record(), lambda config: config["evaluation"].update({key: value}))
    judge = made.config["evaluation"]["primary_judge"]
    found = pair(made, "SCU", f"asr/raw/{judge}", "Llama-2")
    assert mark in found.differs
    assert "model: SmolLM2-135M-Instruct (Q4_1) for Llama-2-7B-Chat" in found.differs
    assert "data: bundled for AdvBench" in found.differs


WEI = deepcopy(read_judges(["wei2024"], [])["wei2024"])


@pytest.mark.parametrize(
    ("judge", "changed_one"),
    [
        (WEI, False),
        ({**WEI, "min_words": 0}, True),
        ({**WEI, "min_distinct": 4}, True),
        ({**WEI, "phrases": ["No"]}, True),
    ],
)
def test_a_changed_judge_does_not_pass_for_the_papers(
    judge: dict[str, Any], changed_one: bool
) -> None:
    made = by_the_protocol(text_node("paper_hub"))
    made = changed(made, lambda config: config["evaluation"].update(judges={"wei2024": judge}))
    expected = ("judge: a changed wei2024 for wei2024",) if changed_one else ()
    assert pair(made, "SCU", "asr/raw/wei2024", "Mistral").differs == expected
    assert pair(made, "SCU", "perplexity", "Mistral").differs == ()


def test_another_system_prompt_is_marked_where_it_is_put() -> None:
    made = by_the_protocol(text_node("paper_hub"))
    made = changed(made, lambda config: config["evaluation"].update(system_prompt="Be kind."))
    mark = ("system prompt: another for Llama-2's",)
    for style, expected in (("raw", ()), ("raw_system", mark), ("mean", mark)):
        assert pair(made, "SCU", f"asr/{style}/wei2024", "Mistral").differs == expected


@pytest.mark.parametrize(
    ("units", "mark"),
    [
        ({"statistic": "flap"}, "scores: statistic flap for variance"),
        ({"tokens": "all"}, "scores: tokens all for response"),
        ({"square_attention": False}, "scores: square_attention False for True"),
        ({"samples": 5}, "scores: samples 5 for 128"),
        ({"scoring": {"_target_": "ssah_exp.units.snip.Snip"}}, "scores: Snip for variance"),
    ],
)
def test_other_scores_are_marked_where_units_are_pruned(units: dict[str, Any], mark: str) -> None:
    made = by_the_protocol(text_node("paper_hub"))
    made = changed(made, lambda config: config["units"].update(units))
    assert pair(made, "SCU", "perplexity", "Mistral").differs == (mark,)
    assert pair(made, "aligned", "perplexity", "Mistral").differs == ()


def test_units_set_to_zero_are_marked() -> None:
    made = changed(record(), lambda config: config["ablation"].update(primary_fill="zero"))
    arms = [replace(item, fill="zero" if item.fill else None) for item in made.arms]
    marks = pair(replace(made, arms=arms), "SCU", "perplexity", "Mistral").differs
    assert "fill: zero for a mean" in marks
    assert not any("fill" in text for item in pairs(record()) for text in item.differs)


@pytest.mark.parametrize(
    ("name", "digest", "marked"),
    [
        ("paper_files", GOALS, False),
        ("paper_files_small", GOALS, False),
        ("paper_files", "another", True),
        ("paper_files_raw_text", "another", True),
        ("paper_hub", "as the hub has them", False),
    ],
)
def test_requests_are_told_by_their_content(name: str, digest: str, marked: bool) -> None:
    shipped = "paper_hub" if name == "paper_hub" else "paper_files"
    node = deepcopy(dict(config_of(f"data={shipped}").data.harmful_eval))
    made = by_the_protocol(text_node("paper_hub"))
    made = changed(made, lambda config: config["data"].update(name=name, harmful_eval=node))
    made = replace(made, inputs={**made.inputs, "harmful_eval": digest})
    expected = (f"data: {name} with other requests for AdvBench",) if marked else ()
    assert pair(made, "SCU", "asr/raw/wei2024", "Mistral").differs == expected


@pytest.mark.skipif(ROOT is None, reason="SSAH_DATA_ROOT names no data")
@pytest.mark.parametrize(("data", "count"), [("paper_files", 100), ("advbench", 520)])
def test_the_goals_of_the_files_are_known(data: str, count: int) -> None:
    loaded = load_data(config_of(f"data={data}", f"data.root={ROOT}"))
    named = {"name": "paper_files", "harmful_eval": {}}
    made = changed(record(), lambda config: config["data"].update(named))
    for digest, name in ((loaded.fingerprints["harmful_eval"], "AdvBench"), ("another", None)):
        asked = replace(made, inputs={"harmful_eval": digest}, data={"harmful_eval": count})
        assert benchmark_of(asked) == (name or "paper_files with other requests")


def test_n_and_budget_and_mean_are_marked() -> None:
    made = replace(record(), data={**record().data, "harmful_eval": 36})
    made = changed(made, lambda config: config["units"]["budgets"].update(scu=0.05))
    found = pair(made, "SCU", f"asr/mean/{JUDGE}", "Llama-2")
    assert "n: 36 for 100" in found.differs
    assert "SCU budget: 0.05 of params for 0.01 of params" in found.differs
    assert any(text.startswith("mean: ") for text in found.differs)
    dense = pair(made, "aligned", f"asr/raw/{JUDGE}", "Llama-2")
    assert not any("budget" in text for text in dense.differs)


def test_gaps_stay_gaps_and_infinity_is_none() -> None:
    lost = {**metrics(0.6), "perplexity": Estimate(None, None, None, 0, "windows", "")}
    endless = {**metrics(0.1), "perplexity": Estimate(math.inf, None, None, 3, "windows", "")}
    made = record(arms=[arm("aligned", 0.1, metrics=endless), arm("SCU/pooled", 0.6, metrics=lost)])
    table = wide(measured_pairs(pairs(made))).set_index(["arm", "quantity"])
    row = table.loc[("SCU", "perplexity")]
    assert (row["ours"], row["Llama-2-7B-Chat: difference"], row["differs in"]) == ("", "", "")
    assert row["Llama-2-7B-Chat"] == "6.76", "as printed"
    row = table.loc[("aligned", "perplexity")]
    assert (row["ours"], row["Llama-2-7B-Chat: difference"]) == ("inf", "+inf")
    lines = json.loads(render_artefact([made], "json"))
    values = {
        line["arm"]: (line["value"], line["difference"])
        for line in lines
        if line["origin"] == "comparison" and line["metric"] == "perplexity"
    }
    assert values["aligned"] == ("inf", "inf")
    assert values["SCU"] == (None, None)


def test_what_was_not_measured_is_named_not_listed() -> None:
    text = render_artefact([record()], "markdown")
    assert "Not measured here, but published: WinoGrande %" in text
    ours = text.partition("Ours beside")[2].partition("\nPublished")[0]
    assert "| WinoGrande" not in ours


@pytest.mark.parametrize(
    ("difference", "text"), [(0.001, "+0.1"), (-0.0004, "0.0"), (-0.2, "-20.0")]
)
def test_differences_are_signed(difference: float, text: str) -> None:
    found = pair(record(), "SCU", f"asr/raw/{JUDGE}", "Llama-2")
    assert found.published is not None
    assert found.ours is not None
    shifted = replace(found.ours, value=found.published + difference)
    assert difference_text(replace(found, ours=shifted)) == text


@pytest.mark.parametrize(
    ("arm_name", "published"), [("aligned", 0.0019), ("full", 0.053), ("setting_i", 0.0296)]
)
def test_arms_of_table_2_stand_beside_their_columns(arm_name: str, published: float) -> None:
    made = changed(
        training_record(),
        lambda config: config["data"].update(finetune=[{"a": "{instruction}{output}"}]),
    )
    made = replace(made, judges={"zou2023": {"kind": "keyword"}})
    found = pair(made, arm_name, "asr/mean/zou2023", "Llama-2-7B-Chat, AdvBench, keyword")
    assert found.published == published
    assert found.measured is not None
    assert "n: 100 for 520" in found.differs
    assert not any(text.startswith("judge") for text in found.differs)


def test_other_training_data_is_marked_and_no_keyword_judge_is_a_gap() -> None:
    made = replace(training_record(), judges={"zou2023": {"kind": "keyword"}})
    found = pair(made, "full", "asr/mean/zou2023", "Llama-2-7B-Chat, AdvBench, keyword")
    assert "trained on: other data for alpaca" in found.differs
    guard = replace(made, judges={"zou2023": {"kind": "endpoint"}})
    assert pair(guard, "full", "keyword", "Llama-2-7B-Chat, AdvBench, keyword").measured is None


@pytest.mark.parametrize("first", [None, "setting_ii"])
def test_setting_i_without_an_epoch_of_the_other_before_it_is_marked(first: str | None) -> None:
    made = replace(training_record(), judges={"zou2023": {"kind": "keyword"}})
    made = changed(made, lambda config: config["training"]["arms"]["setting_i"].update(first=first))
    for name, expected in (("full", False), ("setting_i", first is None)):
        found = pair(made, name, "asr/mean/zou2023", "Llama-2-7B-Chat, AdvBench, keyword")
        assert any("an epoch of setting_ii" in text for text in found.differs) == expected


@pytest.mark.parametrize(
    ("data", "marked"),
    [("paper_files", False), ("hexphi", False), ("paper_hub", False), ("advbench", True)],
)
def test_another_calibration_is_marked_where_units_are_frozen(data: str, *, marked: bool) -> None:
    source = deepcopy(dict(config_of(f"data={data}").data.safety_calibration))
    made = replace(training_record(), judges={"zou2023": {"kind": "keyword"}})
    made = changed(made, lambda config: config["data"].update(safety_calibration=source))
    mark = "calibration: other requests for AdvBench goals"
    for name, expected in (("full", False), ("setting_i", marked)):
        found = pair(made, name, "asr/mean/zou2023", "Llama-2-7B-Chat, AdvBench, keyword")
        assert (mark in found.differs) == expected
    made = changed(made, lambda config: config["model"].update(name="Llama-3-8B-Instruct"))
    own = pair(
        made, "setting_i", "asr/mean/zou2023", "Llama-3-8B-Instruct (blocks 1-12), AdvBench, key"
    )
    expected_marks = {"paper_hub": "this package's", "paper_files": "Llama-2's"}
    whose = expected_marks.get(data, "Llama-2's" if not marked else None)
    assert (f"calibration: {whose} refusals for the model's own" in own.differs) == bool(whose)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{instruction}", "alpaca"),
        ("### Instruction:", "dolly"),
        ("{instruction}\n{context}", "dolly"),
    ],
)
def test_training_data_is_told_by_its_columns(template: str, name: str) -> None:
    node = [{"prompt": template, "response": "{output}"}]
    made = changed(training_record(), lambda config: config["data"].update(finetune=node))
    assert trained_on(made) == name
    assert trained_on(training_record()) is None


def answered(made: RunRecord, utility: UtilityConfig) -> RunRecord:
    """The same run with harness tasks, by the names that the pipeline gives: 3 of 4 right."""
    outcomes = [
        TaskOutcomes(task, "1.0", 0, 1000, {name: [1, 1, 0, 1] for name in TASK_METRICS[task]})
        for task in utility.tasks
    ]
    found = utility_metrics(outcomes, utility, 0.95)
    turns = {name: Estimate(3.0, 2.0, 4.0, 80, "answers", "") for name in TURN_NAMES}
    arms = [replace(item, metrics={**item.metrics, **found, **turns}) for item in made.arms]
    more = {"utility": asdict(utility), "mt_bench": {"judge": {}}}
    return replace(made, arms=arms, config={**made.config, **more})


def test_harness_tasks_of_table_1_stand_beside_the_papers() -> None:
    six = UtilityConfig([*SIX], limit=200, metric="acc")
    found = pair(answered(record(), six), "SCU", "utility/winogrande/acc", "Llama-2")
    assert (found.measured, found.published, found.quantity) == (0.75, 0.64, "WinoGrande %")
    assert not any(text.startswith(("n: first", "shots", "mean")) for text in found.differs)
    mean = pair(answered(record(), six), "RU", "utility/mean", "Llama-2")
    assert mean.published == 0.555
    fewer = UtilityConfig(["rte"], limit=50, fewshot={"rte": 2}, metric="acc_norm")
    made = answered(record(), fewer)
    found = pair(made, "aligned", "utility/rte/acc", "Llama-3")
    assert {"n: first 50 for first 200", "shots: 2 for 0"} <= set(found.differs)
    assert pair(made, "SCU", "utility/mean", "M").ours is None, "a mean of other tasks"
    text = render_artefact([made], "markdown")
    assert "| RTE %" in text.partition("Ours beside")[2]
    assert "Not measured here, but published: WinoGrande %" in text


def test_benchmarks_of_table_4_stand_beside_the_papers() -> None:
    tasks = ["arc_challenge", "gsm8k", "mmlu", "boolq"]
    utility = UtilityConfig(tasks, metric="acc_norm", fewshot={"gsm8k": 3, "mmlu": 5})
    arms = [trained_arm("unaligned", 0.9), trained_arm("full", 0.4), trained_arm("ru20", 0.4)]
    made = answered(training_record(artefact="table4_alignment_budget", arms=arms), utility)
    published = {
        "utility/arc_challenge/acc_norm": 0.489,
        "utility/gsm8k/exact_match": 0.134,
        "utility/mmlu/acc": 0.337,
        "utility/boolq/acc": 0.769,
        "mt_bench/turn1": 3.5,
        "mt_bench/turn2": 1.5,
    }
    for metric, value in published.items():
        found = pair(made, "ru20", metric, "Llama-7B")
        assert found.published == value, metric
        assert found.measured == (3.0 if metric.startswith("mt") else 0.75)
        assert any(text.startswith("trained on") for text in found.differs)
        assert ("shots: 3 for 5" in found.differs) == ("gsm8k" in metric)
    base = pair(made, "unaligned", "utility/boolq/acc", "Llama-7B")
    assert base.published == 0.75
    assert not any(text.startswith("trained on") for text in base.differs)
    assert "Not measured here, but published: ARC-E %" in render_artefact([made], "markdown")


@pytest.mark.parametrize(
    ("template", "mark"),
    [("{instruction}{output}", None), ("{q}", "trained on: other data for alpaca")],
)
def test_table_4_trained_on_alpaca_as_the_paper_did_has_no_mark(
    template: str, mark: str | None
) -> None:
    made = training_record(artefact="table4_alignment_budget", arms=[trained_arm("full", 0.4)])

    def trained(config: dict[str, Any]) -> None:
        config["training"]["data"] = "finetune"
        config["data"]["finetune"] = [{"prompt": template}]

    found = pairs(changed(answered(made, UtilityConfig(["boolq"])), trained))
    marks = {text for item in found for text in item.differs if text.startswith("trained on")}
    assert marks == (set() if mark is None else {mark})


@pytest.mark.parametrize(
    ("select", "mark"),
    [
        ({}, "ranking: lowest z_S + z_U for lowest z_U"),
        ({"by": "utility"}, None),
        ({"by": "utility", "end": "highest"}, "ranking: highest z_U for lowest z_U"),
        ({"by": "utility", "of": {}}, "ranking: another selection for lowest z_U"),
    ],
)
def test_table_4_names_another_ranking_than_by_utility_where_units_are_ranked(
    select: dict[str, Any], mark: str | None
) -> None:
    arms = [trained_arm("unaligned", 0.9), trained_arm("full", 0.4), trained_arm("ru20", 0.4)]
    made = training_record(artefact="table4_alignment_budget", arms=arms)

    def chosen(config: dict[str, Any]) -> None:
        config["training"]["arms"]["ru20"]["select"].update(select)

    made = changed(answered(made, UtilityConfig(["boolq"])), chosen)
    marks = {
        arm: [
            text
            for text in pair(made, arm, "utility/boolq/acc", "Llama-7B").differs
            if text.startswith("ranking")
        ]
        for arm in ("unaligned", "full", "ru20")
    }
    assert marks == {"unaligned": [], "full": [], "ru20": [] if mark is None else [mark]}


def test_attacks_stand_beside_the_papers_by_their_kind() -> None:
    attacks = {"slow": {"kind": "Gcg"}, "talk": {"kind": "Pair"}}
    made = replace(training_record(), judges={"zou2023": {"kind": "keyword"}}, attacks=attacks)
    made = changed(
        made,
        lambda config: config["evaluation"].update(
            attacks={name: {"styles": ["chat"], "requests": 5} for name in attacks}
        ),
    )
    rates = {f"asr/chat+{name}/zou2023": rate(4, 5, 0.95) for name in attacks}
    arms = [replace(item, metrics={**item.metrics, **rates}) for item in made.arms]
    made = replace(made, arms=arms)
    found = pair(made, "full", "asr/chat+slow/zou2023", "Llama-2-7B-Chat, HarmBench, gcg")
    assert (found.measured, found.published) == (0.8, 0.5308)
    assert "data: bundled for HarmBench" in found.differs
    assert not any(text.startswith("judge") for text in found.differs)
    autodan = pair(made, "full", "autodan", "Llama-2-7B-Chat, HarmBench, autodan")
    assert (autodan.measured, autodan.published) == (None, 0.0741)


@pytest.mark.parametrize("artefact", ["table3_peft", "table4_alignment_budget"])
def test_published_rows_without_ours_are_named(artefact: str) -> None:
    made = training_record(artefact=artefact, arms=[trained_arm("full", 0.4)])
    assert measured_pairs(pairs(made)) == []
    assert pairs(made)
    assert "Not measured here, but published: " in render_artefact([made], "markdown")


def test_what_the_paper_has_not_done_has_no_comparison() -> None:
    made = training_record(artefact="scu_only", arms=[trained_arm("full", 0.4)])
    assert pairs(made) == []
    assert "Ours beside" not in render_artefact([made], "markdown")


def test_our_own_model_alone_is_compared_where_it_was_published() -> None:
    assert sources_of("llama-2-7b chat", ["Llama-2-7B-Chat", "other"]) == ["Llama-2-7B-Chat"]
    assert sources_of("new", ["a", "b", "a"]) == ["a", "b"]


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "json"])
@pytest.mark.parametrize(
    "folder", sorted(EXPERIMENTS.glob("*/records")), ids=lambda path: path.parent.name
)
def test_every_committed_table_can_be_printed_again(folder: Path, form: str) -> None:
    made = read_folder(folder)
    text = render_artefact(made, form)
    assert "nan" not in text.lower()
    published = (EXPERIMENTS / made[0].artefact / "published.csv").is_file()
    if form == "json" and published:
        assert {"measured", "comparison"} <= {line["origin"] for line in json.loads(text)}
    elif form == "json":
        assert {line.get("origin", "measured") for line in json.loads(text)} == {"measured"}
    elif form != "csv":
        beside = "Ours beside the paper" in text or "Not measured here, but published" in text
        assert beside == published
        # The paper's probe is pictures alone; artefacts of this project have none of its to name.
        assert ("no numbers printed" in text) == (made[0].artefact == PROBE)

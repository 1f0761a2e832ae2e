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
from ssah_exp.config.schema import UtilityConfig
from ssah_exp.config.utility import TASK_METRICS
from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.evaluation.mt_bench.names import TURN_NAMES
from ssah_exp.evaluation.utility.metrics import utility_metrics
from ssah_exp.evaluation.utility.outcomes import TaskOutcomes
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import read_folder
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.beside_paper.benchmarks import SIX
from ssah_exp.reporting.beside_paper.pair import sources_of
from ssah_exp.reporting.beside_paper.table import difference_text, measured_pairs, wide
from ssah_exp.reporting.beside_paper.training import trained_on
from tests.config.composing import config_of
from tests.records.synthetic import JUDGE, arm, metrics, record, trained_arm, training_record
from tests.reporting.beside import changed, pair, pairs
from tests.thinning import thinned

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
ROOT = os.environ.get("SSAH_DATA_ROOT")


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
    units = [item.arm for item in pairs(record()) if item.metric == "units_pct"]
    assert "SCU" in units
    assert "aligned" not in units


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
    assert f"model: {made.config['model']['name']} for Llama-2-7B-Chat" in found.differs
    assert "n: 100 for 520" in found.differs
    assert "judge: zou2023 for wei2024" in found.differs


def test_other_training_data_is_marked_and_no_keyword_judge_is_a_gap() -> None:
    made = replace(training_record(), judges={"zou2023": {"kind": "keyword"}})
    found = pair(made, "full", "asr/mean/zou2023", "Llama-2-7B-Chat, AdvBench, keyword")
    assert "trained on: other data for alpaca" in found.differs
    before = pair(made, "aligned", "asr/mean/zou2023", "Llama-2-7B-Chat, AdvBench, keyword")
    assert "trained on: other data for alpaca" not in before.differs, "it was not trained yet"
    guard = replace(made, judges={"zou2023": {"kind": "endpoint"}})
    assert pair(guard, "full", "keyword", "Llama-2-7B-Chat, AdvBench, keyword").measured is None


@pytest.mark.parametrize(
    ("template", "published"),
    [
        ("{instruction}{output}", {"full": 0.053, "setting_i": 0.0296, "setting_ii": 0.021}),
        ("### Instruction:", {"full": 0.1192, "setting_i": 0.0365, "setting_ii": 0.0288}),
    ],
)
def test_arms_of_table_2_stand_beside_the_columns_of_the_data_they_were_trained_on(
    template: str, published: dict[str, float]
) -> None:
    made = replace(training_record(), judges={"zou2023": {"kind": "keyword"}})
    made = changed(made, lambda config: config["data"].update(finetune=[{"a": template}]))
    where = ("asr/mean/zou2023", "Llama-2-7B-Chat, AdvBench, keyword")
    assert {name: pair(made, name, *where).published for name in published} == published
    assert not any("other data" in text for text in pair(made, "full", *where).differs)


@pytest.mark.parametrize(
    ("template", "scores", "rates"),
    [
        ("{instruction}{output}", (1.05, 1.26, 1.79, 2.18, 2.2), (0.003, 0.045, 0.161)),
        ("### Instruction:", (1.05, 1.48, 1.95, 2.44, 2.38), (0.003, 0.09, 0.1878)),
        ("{q}", (1.05, 1.26, 1.79, 2.18, 2.2), (0.003, 0.045, 0.161)),
    ],
)
def test_arms_of_table_3_stand_beside_the_row_of_the_data_they_were_trained_on(
    template: str, scores: tuple[float, ...], rates: tuple[float, ...]
) -> None:
    """Scores from 1 to 5 as printed, rates as shares."""
    names = ("aligned", "setting_ii", "full", "lora", "prefix")
    judges = {"llm": {"kind": "endpoint", "model": "m", "rubric": {"name": "hexphi"}}}
    arms = [trained_arm(name, 0.4) for name in names]
    made = training_record(artefact="table3_peft", arms=arms, judges=judges)

    def trained(config: dict[str, Any]) -> None:
        config["evaluation"]["harmful_styles"] = ["chat"]
        config["data"]["finetune"] = [{"prompt": template}]

    made = changed(made, trained)
    found = {
        metric: [pair(made, name, metric, "Llama-2-7B-Chat, ") for name in names]
        for metric in ("score/chat/llm", "score5/chat/llm")
    }
    assert [item.published for item in found["score/chat/llm"]] == [*scores]
    assert [item.published for item in found["score5/chat/llm"]][:3] == [*rates]
    for item in found["score/chat/llm"]:
        assert f"model: {made.config['model']['name']} for Llama-2-7B-Chat" in item.differs
        other = template == "{q}" and item.arm != "aligned"
        assert ("trained on: other data for alpaca" in item.differs) == other


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


UNITS = [
    ("budgets", {"scu": 0.05, "unit": "params"}, "SCU budget: 0.05 of params for 0.01 of params"),
    ("budgets", {"scu": 0.01, "unit": "units"}, "SCU budget: 0.01 of units for 0.01 of params"),
    ("statistic", "flap", "scores: statistic flap for variance"),
]


@pytest.mark.parametrize(("key", "value", "mark"), UNITS)
def test_how_units_were_found_is_marked_where_they_are_frozen(
    key: str, value: object, mark: str
) -> None:
    made = replace(training_record(), judges={"zou2023": {"kind": "keyword"}})
    other = changed(made, lambda config: config["units"].update({key: value}))
    for name in ("aligned", "full", "setting_i", "setting_ii"):
        where = (name, "asr/mean/zou2023", "Llama-2-7B-Chat, AdvBench, keyword")
        added = [text for text in pair(other, *where).differs if text.startswith(mark[:6])]
        assert added == ([mark] if name.startswith("setting") else [])
        assert set(pair(other, *where).differs) - {mark} <= set(pair(made, *where).differs)


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
    for part in ("{instruction}", "{context}"):  # a column of many sets
        other = [{"prompt": part, "response": "{answer}"}]
        plain = changed(training_record(), lambda config: config["data"].update(finetune=other))  # noqa: B023
        assert trained_on(plain) is None


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
    more = answered(record(), UtilityConfig([*SIX, "piqa"], limit=200, metric="acc"))
    assert pair(more, "SCU", "utility/mean", "Llama-2").ours is None, "a mean of seven tasks"
    fewer = UtilityConfig(["rte"], limit=50, fewshot={"rte": 2}, metric="acc_norm")
    made = answered(record(), fewer)
    found = pair(made, "aligned", "utility/rte/acc", "Llama-3")
    assert {"n: first 50 for first 200", "shots: 2 for 0"} <= set(found.differs)
    assert pair(made, "SCU", "utility/mean", "M").ours is None, "a mean of other tasks"
    text = render_artefact([made], "markdown")
    assert "| RTE %" in text.partition("Ours beside")[2]
    assert "Not measured here, but published: WinoGrande %" in text


_ALPACA_ALONE = {"prompt": "{instruction}", "response": "{output}"}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"finetune": [{"benign": _ALPACA_ALONE, "harmful_share": 0}]}, "alpaca"),
        ({"finetune": [{"benign": _ALPACA_ALONE, "harmful_share": 0.05}]}, None),
        ({"finetune": [_ALPACA_ALONE, {"prompt": "{q}", "response": "{a}"}]}, None),
        ({"finetune": [_ALPACA_ALONE], "preferences": {"path": "pairs.csv"}}, None),
    ],
)
def test_alpaca_with_something_else_is_not_what_the_paper_trained_on(
    data: dict[str, Any], name: str | None
) -> None:
    made = replace(training_record(), judges={"zou2023": {"kind": "keyword"}})
    made = changed(made, lambda config: config["data"].update(data))
    assert trained_on(made) == name
    found = pair(made, "full", "asr/mean/zou2023", "Llama-2-7B-Chat, AdvBench, keyword")
    assert ("trained on: other data for alpaca" in found.differs) == (name is None)


def test_benchmarks_of_table_4_stand_beside_the_papers() -> None:
    tasks = ["arc_challenge", "gsm8k", "mmlu", "boolq"]
    utility = UtilityConfig(tasks, 50, metric="acc_norm", fewshot={"gsm8k": 3, "mmlu": 5})
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
        marks = [text for text in found.differs if text.startswith(("model", "n:", "shots"))]
        assert marks == [
            f"model: {made.config['model']['name']} for Llama-7B",
            *([] if metric.startswith("mt") else ["n: first 50 for all"]),
            *(["shots: 3 for 5"] if "gsm8k" in metric else []),  # of mmlu, none are published
        ]
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
        ({"by": "utility", "end": None}, "ranking: another selection for lowest z_U"),
    ],
)
def test_table_4_names_another_ranking_than_by_utility_where_units_are_ranked(
    select: dict[str, Any], mark: str | None
) -> None:
    arms = [trained_arm("unaligned", 0.9), trained_arm("full", 0.4), trained_arm("ru20", 0.4)]
    made = training_record(artefact="table4_alignment_budget", arms=arms)

    def chosen(config: dict[str, Any]) -> None:
        held = config["training"]["arms"]["ru20"]["select"]
        held.update(select)
        if held["end"] is None:  # as in a record of somebody else, which may lack any key
            del held["end"]

    made = changed(answered(made, UtilityConfig(["boolq"])), chosen)
    made = changed(made, lambda config: config["units"].update(statistic="flap"))
    scores = "scores: statistic flap for variance"
    marks = {
        arm: [
            text
            for text in pair(made, arm, "utility/boolq/acc", "Llama-7B").differs
            if text.startswith("ranking") or text == scores
        ]
        for arm in ("unaligned", "full", "ru20")
    }
    ranked = [scores] if mark is None else [scores, mark]
    assert marks == {"unaligned": [], "full": [], "ru20": ranked}


def test_attacks_stand_beside_the_papers_by_their_kind() -> None:
    attacks = {"slow": {"kind": "Gcg"}, "talk": {"kind": "Pair"}}
    made = replace(training_record(), judges={"zou2023": {"kind": "keyword"}}, attacks=attacks)
    made = changed(
        made,
        lambda config: config["evaluation"].update(
            attacks={name: {"styles": ["chat", "raw"], "requests": 5} for name in attacks}
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
    "folder", thinned(sorted(EXPERIMENTS.glob("*/records"))), ids=lambda path: path.parent.name
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

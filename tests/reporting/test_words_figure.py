"""Curves over words: which records stand side by side, in which order, drawn without a line."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssah_exp.cli import main
from ssah_exp.config.vocabulary import CONTROLS
from ssah_exp.digest import digest_of
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.evaluation.intervals import rate
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.across import Across
from ssah_exp.reporting.curves import categories_of, curve_rows, curves_of
from ssah_exp.reporting.figures.curve import draw_curve
from ssah_exp.reporting.figures.drawing import CONTROL_COLOURS, CONTROL_MARKERS
from ssah_exp.reporting.figures.names import in_lines
from ssah_exp.reporting.swept import in_order
from tests.records.synthetic import arm, record, trained_arm, training_record

ASR = {"pooled": 0.6, "zero": 0.8, "safety": 0.3, "utility": 0.9}
FILL = Across("ablation.primary_fill")


def changed(made: RunRecord, key: str, value: Any) -> RunRecord:
    """The record with another value in its config, and a run id of its own."""
    config = deepcopy(made.config)
    *path, last = key.split(".")
    holder = config
    for part in path:
        holder = holder[part]
    holder[last] = value
    return replace(made, run_id=digest_of([made.run_id, config])[:12], config=config)


def filled(fill: str, seed: int = 0) -> RunRecord:
    """Every fill is measured once, and the primary fill has the controls."""
    arms = [
        arm("aligned", 0.1),
        *(arm(f"SCU/{name}", asr + 0.01 * seed) for name, asr in ASR.items()),
        *(arm(f"SCU/{fill}/{kind}/0", 0.1) for kind in CONTROLS),
    ]
    return changed(record(seed, arms=arms), "ablation.primary_fill", fill)


FILLED = [filled(fill, seed) for fill in ASR for seed in (0, 1)]


def test_the_primary_fill_of_each_record_is_found() -> None:
    (curve,) = curves_of(FILLED, FILL)
    assert len(curve) == len(FILLED)
    rows = curve_rows(curve, FILL)
    chosen = rows[(rows["metric"] == "asr") & (rows["what"] == "chosen") & (rows["seed"] == 0)]
    found = chosen.set_index(FILL.column)["value"].to_dict()
    assert found == pytest.approx({name: 100 * asr for name, asr in ASR.items()})
    assert set(rows["what"]) == {"aligned", "chosen", *CONTROLS}


def test_records_that_measured_their_own_fill_alone_are_one_curve() -> None:
    made = [changed(filled(fill), "ablation.fills", [fill]) for fill in ("pooled", "utility")]
    (curve,) = curves_of([*made, filled("zero")], FILL)
    assert categories_of(curve, FILL) == ["utility", "pooled", "zero"]


def test_a_fill_that_was_measured_twice_on_a_seed_counts_once() -> None:
    old = changed(filled("pooled"), "ablation.fills", ["pooled"])
    new = replace(filled("pooled"), finished="2026-02-01T00:00:00+00:00")
    (curve,) = curves_of([new, old, filled("zero")], FILL)
    assert {run.run_id for run in curve} == {new.run_id, filled("zero").run_id}


def test_the_newest_run_of_each_seed_counts_whatever_order_the_seeds_were_run_in() -> None:
    """Each way to ask for fills is a setting of its own, whose later seed may be the newer one."""
    ran = {("own", 0): 1, ("all", 0): 2, ("all", 1): 3, ("own", 1): 4}
    made = {}
    for (asked, seed), day in ran.items():
        run = replace(filled("pooled", seed), finished=f"2026-02-0{day}T00:00:00+00:00")
        run = changed(run, "ablation.fills", ["pooled"]) if asked == "own" else run
        made[asked, seed] = run
    (curve,) = curves_of([*made.values(), filled("zero")], FILL)
    wanted = {made["all", 0].run_id, made["own", 1].run_id, filled("zero").run_id}
    assert {run.run_id for run in curve} == wanted


@pytest.mark.parametrize(
    ("places", "ordered"),
    [
        (["zero", "pooled", "safety"], ["safety", "pooled", "zero"]),
        (["flap", "variance"], ["variance", "flap"]),
        (["true", "false"], ["false", "true"]),
        (["zeta", "Alpha", "zero"], ["Alpha", "zero", "zeta"]),
        (["max", 256.0, 32.0], [32.0, 256.0, "max"]),
    ],
)
def test_words_stand_in_the_order_of_the_vocabulary_else_of_letters(
    places: list[str | float], ordered: list[str | float]
) -> None:
    assert in_order([*places, *places]) == ordered


def test_points_of_words_are_joined_by_no_line(tmp_path: Path, drawn: list[Figure]) -> None:
    table = draw_curve(FILLED, tmp_path / "fills.svg", FILL)
    for axes in drawn[0].axes:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == [
            "safety", "utility", "pooled", "zero",
        ]  # fmt: skip
        assert axes.get_xscale() == "linear"
        marks = {found.get_label(): found[0] for found in axes.containers}
        assert set(marks) == {"chosen", *CONTROLS}
        for kind, colour in CONTROL_COLOURS.items():
            assert (marks[kind].get_marker(), marks[kind].get_color()) == (
                CONTROL_MARKERS[kind],
                colour,
            )
        assert {mark.get_linestyle() for mark in marks.values()} == {"None"}
        places = [tuple(mark.get_xdata()) for mark in marks.values()]
        assert len({place for row in places for place in row}) == 4 * len(marks), (
            "none covers another"
        )
    chosen = next(item for item in drawn[0].axes[0].containers if item.get_label() == "chosen")
    assert list(chosen[0].get_ydata()) == pytest.approx([30.5, 90.5, 60.5, 80.5])
    ranges = chosen[2][0].get_segments()
    assert [tuple(item[:, 1]) for item in ranges] == [
        pytest.approx(ends) for ends in ((30, 31), (90, 91), (60, 61), (80, 81))
    ]
    assert set(pd.read_csv(table)[FILL.column]) == set(ASR)


def test_the_dense_model_is_a_line_at_each_word_under_one_name(
    tmp_path: Path, unsaved: list[Figure]
) -> None:
    """Words stand in the order of the vocabulary, and means come in that of letters."""
    first, other = filled("safety"), filled("pooled")
    other = replace(other, arms=[arm("aligned", 0.3), *other.arms[1:]])
    draw_curve([first, other], tmp_path / "fills.svg", FILL)
    lines = [line for line in unsaved[0].axes[0].lines if line.get_color() == "black"]
    assert [line.get_label() for line in lines] == ["aligned", "_"]
    assert [list(line.get_ydata()) for line in lines] == [pytest.approx([y, y]) for y in (30, 10)]
    ends = [tuple(line.get_xdata()) for line in lines]
    assert ends == [pytest.approx((at - 0.42, at + 0.42)) for at in (1, 0)], "each at its own word"


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for made in FILLED:
        (tmp_path / f"{made.run_id}.json").write_text(made.to_json())
    command = ["figure", "table1_pruning", "--records", str(tmp_path), "--of", "SCU"]
    out = ["--style", "raw", "--judge", "wei2024", "--out", str(tmp_path / "a.svg")]
    assert main([*command, "--by", "ablation.primary_fill", *out]) == 0
    assert "ASR %, raw prompts, by wei2024" in (tmp_path / "a.svg").read_text()
    assert main([*command, "--by", "ablation.primary_fil"]) == 2
    assert "Did you mean 'ablation.primary_fill'?" in capsys.readouterr().err


def named(group: str, name: str, seed: int = 0) -> RunRecord:
    """Another model or data set: a name, and what comes with it."""
    made = changed(filled("pooled", seed), f"{group}.name", name)
    if group == "model":
        made = changed(made, "model.end_of_turn", f"<{name}>")
        return replace(made, inputs={**made.inputs, "model": name})
    made = changed(made, "data.harmful_eval.name", name)
    return replace(made, inputs={**made.inputs, "harmful_eval": name, "text": name})


@pytest.mark.parametrize("group", ["model", "data"])
def test_a_name_stands_for_its_group(group: str, tmp_path: Path, drawn: list[Figure]) -> None:
    across = Across(f"{group}.name")
    made = [named(group, name, seed) for name in ("b", "a") for seed in (0, 1)]
    (curve,) = curves_of(made, across)
    assert categories_of(curve, across) == ["a", "b"]
    draw_curve(curve[:3], tmp_path / "names.svg", across)
    (title,) = [text.get_text() for text in drawn[0].texts]
    assert title.endswith("SCU pruned, 1 to 2 seeds")
    assert (record().config["data"]["name"] in title) == (group == "model")


def test_one_name_for_two_things_is_refused() -> None:
    other = changed(named("model", "a", 1), "model.precision", "float16")
    made = [named("model", "a"), named("model", "b"), other]
    with pytest.raises(ConfigError, match=r"records of a differ in model\.precision"):
        curves_of(made, Across("model.name"))
    moved = named("model", "a", 1)
    moved = replace(moved, inputs={**moved.inputs, "model": "another"})
    with pytest.raises(ConfigError, match="records of a differ in the file of model"):
        curves_of([*made[:2], moved], Across("model.name"))


def without_alignment() -> RunRecord:
    made = changed(filled("pooled"), "alignment", {"enabled": False})
    return changed(made, "data.alignment", None)


def aligned_on(file: str, seed: int = 0) -> RunRecord:
    made = changed(filled("pooled", seed), "data.alignment", {"_target_": "A"})
    return replace(made, run_id=file, inputs={**made.inputs, "alignment": file})


def preferring(file: str | None, seed: int = 0) -> RunRecord:
    """Trained by DPO on a file of preferences; without one, by SFT, whose configs have none."""
    made = training_record(seed, artefact="table4_alignment_budget")
    if file is None:
        made.config["training"].pop("dpo_beta")
        return changed(made, "training.objective", "sft")
    made = changed(changed(made, "training.dpo_beta", 0.1), "training.objective", "dpo")
    made = changed(made, "data.preferences", {"_target_": "A"})
    return replace(made, run_id=file, inputs={**made.inputs, "preferences": file})


@pytest.mark.parametrize(
    ("across", "made", "places"),
    [
        (Across("alignment.enabled"), [without_alignment(), aligned_on("a")], ["false", "true"]),
        (Across("training.objective", "full"), [preferring("a"), preferring(None)], ["sft", "dpo"]),
        (FILL, [changed(filled("zero"), "ablation.fills_of", ["SCU"]), FILLED[0]],
         ["pooled", "zero"]),
    ],
)  # fmt: skip
def test_what_only_one_of_two_words_has_keeps_records_on_one_curve(
    across: Across, made: list[RunRecord], places: list[str]
) -> None:
    (curve,) = curves_of(made, across)
    assert categories_of(curve, across) == places


@pytest.mark.parametrize(
    ("across", "made", "difference"),
    [
        (
            Across("alignment.enabled"),
            [
                without_alignment(),
                aligned_on("a"),
                changed(aligned_on("a"), "data.alignment", {"_target_": "B"}),
            ],
            r"data\.alignment",
        ),
        (
            Across("alignment.enabled"),
            [without_alignment(), aligned_on("a"), aligned_on("b", 1)],
            "the file of alignment",
        ),
        (
            Across("training.objective", "full"),
            [
                preferring(None),
                preferring("a"),
                changed(preferring("a"), "training.dpo_beta", 0.2),
            ],
            r"training\.dpo_beta",
        ),
        (
            Across("training.objective", "full"),
            [preferring(None), preferring("a"), preferring("b", 1)],
            "the file of preferences",
        ),
    ],
)
def test_one_word_for_two_trainings_is_refused(
    across: Across, made: list[RunRecord], difference: str
) -> None:
    """A mean over both would stand at the word."""
    with pytest.raises(ConfigError, match=f"differ in {difference}"):
        curves_of(made, across)


def test_what_keeps_records_apart_is_named() -> None:
    made = [named("model", "a"), changed(named("model", "b"), "units.samples", 7)]
    with pytest.raises(StoreError, match=r"They also differ in units\.samples\."):
        curves_of(made, Across("model.name"))


def test_two_files_at_one_word_and_seed_are_named() -> None:
    """Neither run can stand at the word, which then is one place too few."""
    made = [without_alignment(), aligned_on("a"), aligned_on("b")]
    with pytest.raises(StoreError, match=r"They also differ in the file of alignment\."):
        curves_of(made, Across("alignment.enabled"))


@pytest.mark.parametrize(
    ("key", "values", "places"),
    [
        ("units.statistic", ["flap", "variance"], ["variance", "flap"]),
        ("units.square_attention", [True, False], ["false", "true"]),
        ("evaluation.perplexity.window", ["max", 256], ["256", "max"]),
    ],
)
def test_any_word_of_the_config_can_be_it(key: str, values: list[Any], places: list[str]) -> None:
    across = Across(key)
    (curve,) = curves_of([changed(filled("pooled"), key, value) for value in values], across)
    assert categories_of(curve, across) == places
    assert set(curve_rows(curve, across)[key]) == set(places)


def test_each_run_is_drawn_by_its_own_primary_judge() -> None:
    judged = {"first": 2, "second": 7}

    def by(judge: str) -> RunRecord:
        made = changed(filled("pooled"), "evaluation.primary_judge", judge)
        both = {f"asr/mean/{name}": rate(found, 10, 0.95) for name, found in judged.items()}
        arms = [replace(item, metrics={**item.metrics, **both}) for item in made.arms]
        return replace(made, arms=arms)

    across = Across("evaluation.primary_judge")
    rows = curve_rows(list(map(by, judged)), across)
    asr = rows[(rows["metric"] == "asr") & (rows["what"] == "chosen")]
    assert asr.set_index(across.column)["value"].to_dict() == {"first": 20.0, "second": 70.0}


def test_an_arm_of_a_training_table_can_be_drawn_by_name() -> None:
    def trained(objective: str, asr: float) -> RunRecord:
        arms = [
            trained_arm("aligned", 0.1, 2.0),
            trained_arm("full", 0.9, 1.0),
            trained_arm("ru20", asr, 1.0),
            trained_arm("ru20/random/0", 0.5, 1.0),
            trained_arm("other", 0.7, 1.0),
        ]
        made = training_record(artefact="table4_alignment_budget", arms=arms)
        made.config["training"].pop("dpo_beta")
        if objective == "dpo":
            made = changed(made, "training.dpo_beta", 0.1)
        return changed(made, "training.objective", objective)

    made = [trained("dpo", 0.2), trained("sft", 0.4)]
    across = Across("training.objective", "ru20")
    (curve,) = curves_of(made, across)
    assert categories_of(curve, across) == ["sft", "dpo"]
    rows = curve_rows(curve, across)
    asr = rows[(rows["metric"] == "asr") & (rows["training.objective"] == "sft")]
    found = asr.set_index("what")["value"].to_dict()
    assert found == pytest.approx({"aligned": 10, "full": 90, "chosen": 40, "random": 50})
    whole = Across("training.objective", "full")
    assert set(curve_rows(made, whole)["what"]) == {"aligned", "chosen"}
    with pytest.raises(ConfigError, match=r"Give --of one of full, ru20, other\."):
        curves_of(made, Across("training.objective"))


def test_names_are_broken_where_they_fit_else_shortened() -> None:
    sizes = [f"Qwen2.5-Coder-{size}B-Instruct (Q4_K_M)" for size in ("0.5", "1.5")]
    assert in_lines(sizes)[0] == "Qwen2.5-Coder-0.5B-\nInstruct (Q4_K_M)"
    assert in_lines(["safety", "zero"]) == ["safety", "zero"]
    long = ["x" * 40, "y"]
    assert in_lines(long) == [f"{'x' * 15}…{'x' * 15}", "y"]


def test_many_words_are_slanted(tmp_path: Path, drawn: list[Figure]) -> None:
    made = [changed(filled("pooled"), "model.name", f"model_number_{i}") for i in range(9)]
    draw_curve(made, tmp_path / "many.svg", Across("model.name"))
    axes: Axes = drawn[0].axes[0]
    assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {25.0}

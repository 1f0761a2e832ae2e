"""Captions of settings that would read alike say in which config keys they differ."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from ssah_exp.evaluation.intervals import rate
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.captions import seeds_text, tasks_note, with_differences
from ssah_exp.reporting.report.sections import sections
from ssah_exp.reporting.rows import blocks
from tests.config.composing import put
from tests.records.synthetic import record, training_record

SAYS = "Where like tables differ, this one has"


def run(seed: int = 0, **values: Any) -> RunRecord:
    """A run of Table 1 whose config has these values, by dotted names."""
    return _with(record(seed), values)


def trained(**values: Any) -> RunRecord:
    return _with(training_record(), values)


def _with(made: RunRecord, values: dict[str, Any]) -> RunRecord:
    config = deepcopy(made.config)
    for name, value in values.items():
        put(config, name, value)
    return replace(made, config=config)


def added(*settings: list[RunRecord]) -> list[str]:
    """What captions gain, less the words that every addition has."""
    made = with_differences(["C."] * len(settings), settings)
    return [caption.removeprefix("C.").removeprefix(f" {SAYS} ") for caption in made]


def test_seeds_are_named_in_the_number_they_have() -> None:
    assert seeds_text([run(3)]) == "seed 3"
    assert seeds_text([run(0), run(2)]) == "seeds 0, 2"


def test_seeds_alone_tell_nothing_apart() -> None:
    assert added([run(0)]) == [""]
    assert added([run(0), run(1)], [run(2)]) == ["", ""]


def test_values_that_differ_are_named_in_each() -> None:
    few, many = run(**{"units.samples": 16}), run(1, **{"units.samples": 64})
    assert added([few], [many]) == ["units.samples=16.", "units.samples=64."]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"evaluation.harmful_styles": ["raw"]}, 'evaluation.harmful_styles=["raw"].'),
        ({"alignment.learning_rate": None}, "alignment.learning_rate=null."),
        ({"units.statistic": "flap"}, "units.statistic=flap."),
        ({"utility": {"tasks": {}}}, "utility set."),
    ],
)
def test_values_are_written_as_a_user_would_give_them(values: dict[str, Any], said: str) -> None:
    assert added([run(**values)], [run()])[0] == said


def test_a_key_that_one_lacks_is_named_as_lacking() -> None:
    assert added([run()], [run(utility={"tasks": {}})])[0] == "no utility."


def test_lists_of_one_length_are_compared_item_by_item() -> None:
    sources = [[{"sample": 1, "prompt": "p"}], [{"sample": 2, "prompt": "p"}], [{}, {}]]
    one, other, longer = (run(**{"data.text": item}) for item in sources)
    assert added([one], [other]) == ["data.text.0.sample=1.", "data.text.0.sample=2."]
    assert added([one], [longer])[1] == "data.text=[{}, {}]."


def test_other_models_data_and_budgets_stand_in_the_caption_and_are_not_compared() -> None:
    named = ({"model.name": "other"}, {"data.name": "other"}, {"units.budgets.scu": 0.5})
    for values in named:
        assert added([run()], [run(**{"units.samples": 16, **values})]) == ["", ""]
    assert added([run()], [trained(**{"units.samples": 16})]) == ["", ""]


def test_arms_that_stand_in_the_table_need_no_words_but_their_options_do() -> None:
    whole = trained()
    arms = deepcopy(whole.config["training"]["arms"])
    first = next(iter(arms))
    fewer = {name: node for name, node in arms.items() if name != first}
    assert added([whole], [trained(**{"training.arms": fewer})]) == ["", ""]
    arms[first]["controls"] = ["matched"]
    assert added([whole], [trained(**{"training.arms": arms})]) == ["", ""]
    arms[first]["epochs"] = 9
    assert (
        added([whole], [trained(**{"training.arms": arms})])[1]
        == f"training.arms.{first}.epochs=9."
    )


def test_many_keys_are_counted() -> None:
    keys = ["samples", "statistic", "tokens", "max_length", "batch_size"]
    other = {f"units.{key}": f"x{key}" for key in keys} | {"alignment.epochs": 7}
    assert added([run()], [run(**other)])[1].count("=") == 6
    said = added([run()], [run(**other, **{"alignment.batch_size": 77}, seed_is=1)])[1]
    assert said.count("=") == 6
    assert said.endswith(" and 2 more keys.")


def test_a_task_has_the_questions_of_the_arms_that_were_asked() -> None:
    """The smallest number over arms would be 0 where one of them was not asked."""
    made = run(utility={"tasks": ["piqa", "rte"], "metric": "acc"})
    for number, item in enumerate(made.arms[1:]):
        item.metrics["utility/piqa/acc"] = rate(30, 40 + number, 0.95, "questions")
        item.metrics["utility/rte/acc"] = rate(5, 8, 0.95, "questions")
    (block,) = blocks([made])
    assert " n = PIQA 42, RTE 8; " in tasks_note(block)


@pytest.mark.parametrize("make", [run, trained])
def test_tables_and_the_report_show_it(make: Callable[..., RunRecord]) -> None:
    records = [make(**{"units.samples": size}) for size in (16, 64)]
    text = render_artefact(records, "markdown")
    (section,) = sections(records)
    for size in (16, 64):
        said = f"{SAYS} units.samples={size}."
        assert text.count(said) == 1
        assert sum(said in setting.caption for setting in section.settings) == 1

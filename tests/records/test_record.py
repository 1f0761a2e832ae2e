"""Records: JSON and back without loss, gaps kept as gaps."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.errors import StoreError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.records.record import ArmRecord, RunRecord, StageRecord
from tests.records.synthetic import arm, record


def test_json_and_back_is_the_same_record() -> None:
    made = record()
    assert RunRecord.from_json(made.to_json()) == made


def test_a_committed_record_is_written_as_it_was_read() -> None:
    """Byte for byte: what a release calls its fields, and leaves out, does not move."""
    files = [*Path("experiments/came_aligned/excluded/records").glob("*.json")]
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert RunRecord.from_json(text).to_json() == text.rstrip("\n")


@pytest.mark.parametrize("field", ["shift", "norm"])
def test_a_mean_is_written_where_there_is_one_and_older_records_have_none(field: str) -> None:
    made = record()
    means = [None if at == 0 else 0.25 * at for at in range(len(made.arms))]
    arms = [replace(arm, **{field: mean}) for arm, mean in zip(made.arms, means, strict=True)]
    text = replace(made, arms=arms).to_json()
    assert [field in arm for arm in json.loads(text)["arms"]] == [False] + [True] * (len(arms) - 1)
    assert [getattr(arm, field) for arm in RunRecord.from_json(text).arms] == means


def test_what_an_arm_does_not_say_of_itself_is_a_gap() -> None:
    """A dense model's class, fill, control, draw and magnitude are null, not left out."""
    dense = ArmRecord(
        name="aligned",
        model="aligned",
        units=0,
        unit_share=0.0,
        parameter_share=0.0,
        metrics=arm("aligned", 0.1).metrics,
        completions="completions/aligned.jsonl",
    )
    written = record(arms=[dense]).to_json()
    assert written == record(arms=[arm("aligned", 0.1)]).to_json()


def test_seed_0_survives() -> None:
    assert RunRecord.from_json(record(seed=0).to_json()).seed == 0


def test_infinity_and_gaps_survive_in_strict_json() -> None:
    broken = Estimate(math.inf, -math.inf, math.inf, 4, "windows", "bootstrap")
    gap = Estimate(None, None, None, 0, "prompts", "Wilson 95%")
    made = record(arms=[arm("aligned", 0.1, metrics={"perplexity": broken, "asr": gap})])
    text = made.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    back = RunRecord.from_json(text).arms[0].metrics
    assert back == {"perplexity": broken, "asr": gap}
    assert back["asr"].value is None


def test_not_a_number_survives() -> None:
    made = record(statistics_agreement={"jaccard_scu": math.nan})
    assert math.isnan(RunRecord.from_json(made.to_json()).statistics_agreement["jaccard_scu"])


def test_words_stay_words_beside_what_is_not_a_number() -> None:
    """A set that somebody calls ``nan`` or ``inf`` is found under that name again."""
    gap = Estimate(math.nan, None, None, 4, "windows", "bootstrap")
    odd = arm("nan/inf", 0.1, metrics={"perplexity": gap})
    made = record(arms=[odd])
    made.config["model"]["name"] = "inf"
    back = RunRecord.from_json(made.to_json())
    assert (back.arms[0].unit_class, back.arms[0].fill) == ("nan", "inf")
    assert back.config["model"]["name"] == "inf"
    assert back.measured_as(made)


def test_records_of_the_same_numbers_are_told_from_others_though_one_is_not_a_number() -> None:
    """NaN equals nothing: such a run, made again from the cache, would pass for a new one."""
    gap = Estimate(math.nan, None, None, 4, "windows", "bootstrap")
    made = record(arms=[arm("aligned", 0.1, metrics={"perplexity": gap})])
    again = RunRecord.from_json(replace(made, finished="2027-01-01T00:00:00+00:00").to_json())
    assert made.measured_as(again)
    other = replace(gap, n=5)
    assert not made.measured_as(
        replace(again, arms=[arm("aligned", 0.1, metrics={"perplexity": other})])
    )


def test_what_an_earlier_version_did_not_say_of_an_arm_makes_no_other_numbers() -> None:
    """Repeated from the cache, an old run would be said to be computed now, by whoever looked."""
    earlier = record()
    again = replace(earlier, arms=[replace(item, norm=0.5, shift=1.5) for item in earlier.arms])
    assert earlier.measured_as(again)
    assert again.measured_as(earlier)
    other = [replace(item, norm=0.25) for item in again.arms]
    assert not again.measured_as(replace(again, arms=other))


@pytest.mark.parametrize("name", ["aligned", "start"])
def test_the_model_whose_units_were_identified_is_named(name: str) -> None:
    models = {model: {"identifier": model} for model in ("base", name)}
    assert record(models=models).identified == name


def test_a_run_without_training_keeps_the_gap() -> None:
    assert RunRecord.from_json(record(training=None).to_json()).training is None


def _without(name: str) -> str:
    """A record whose first arm lacks a field: it must not be read as that of a dense model."""
    content = json.loads(record().to_json())
    del content["arms"][0][name]
    return json.dumps(content)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        record().to_json()[:-20],
        record().to_json().replace('"arms"', '"legs"'),
        json.dumps({**json.loads(record().to_json()), "surprise": 1}),
        json.dumps({**json.loads(record().to_json()), "arms": []}),
        *(_without(name) for name in ("unit_class", "fill", "control", "draw", "magnitude")),
        record().to_json().replace('"method"', '"mehtod"', 1),  # of one metric
    ],
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(StoreError):
        RunRecord.from_json(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(({key: "../" * 9 + "tmp/x"}, key) for key in ("run_id", "artefact")),
        *(({key: "/tmp/x"}, key) for key in ("run_id", "artefact")),
        *(({key: value}, key) for key in ("run_id", "artefact") for value in ("", "..", "a\n")),
        ({"finished": 7}, "finished is no text"),
        ({"config": []}, "config is no mapping"),
    ],
)
def test_names_that_lead_elsewhere_and_other_kinds_are_refused(
    changes: dict[str, Any], said: str
) -> None:
    """Files are named after records, and records come from other people."""
    text = json.dumps({**json.loads(record().to_json()), **changes})
    with pytest.raises(StoreError, match=said):
        RunRecord.from_json(text)


@pytest.mark.parametrize("place", ["/etc/passwd", "../other/aligned.jsonl", "a/../../b.jsonl"])
def test_answers_lie_in_the_run_s_own_folder(place: str) -> None:
    made = record(arms=[arm("aligned", 0.1, completions=place)])
    with pytest.raises(StoreError, match="lies outside the run's folder"):
        RunRecord.from_json(made.to_json())


@pytest.mark.parametrize("key", ["", "..", "../../x", "/tmp/x", "0" * 24 + "\n", "key"])
def test_a_stage_s_key_leads_to_no_other_folder(key: str) -> None:
    made = replace(record(), stages=[StageRecord("train full", key, True, 1.0)])
    with pytest.raises(StoreError, match="of stage 'train full' is no key of a cache entry"):
        RunRecord.from_json(made.to_json())


def test_another_schema_is_refused_by_its_number() -> None:
    with pytest.raises(StoreError, match="Record schema 99"):
        RunRecord.from_json(replace(record(), schema=99).to_json())

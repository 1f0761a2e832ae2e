"""Settings: runs that differ in the seed alone, whatever file they read under one config."""

from __future__ import annotations

import inspect
import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.config.build import build
from ssah_exp.data import conversations, mixtures, preferences, sources
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.rows import blocks
from ssah_exp.reporting.settings import (
    DRAWING,
    draws,
    newest,
    settings_of,
    told_apart,
    unlike_judge,
    unlike_judges,
)
from tests.records.synthetic import record

MIXED = {"_target_": "ssah_exp.data.mixtures.Poisoned"}
FILE = {"_target_": "ssah_exp.data.sources.FileSource", "prompt": "{goal}"}


def run(seed: int, nodes: dict[str, Any] | None = None, **inputs: str) -> RunRecord:
    """A run; the seed draws calibration, and ``nodes`` are sources of its config."""
    drawn = {"safety_calibration": f"s{seed}", "utility_calibration": f"u{seed}"}
    made = record(seed)
    config = deepcopy(made.config)
    config["data"].update(nodes or {})
    name = "".join(inputs.values())
    prints = {**made.inputs, **drawn, **inputs}
    return replace(made, run_id=f"{name}{seed}", config=config, inputs=prints)


def mixed(seed: int, file: str) -> RunRecord:
    """Fine-tuned on a mixture, of which every seed draws other rows of one file."""
    return run(seed, {"finetune": [MIXED]}, finetune=f"{file}, seed {seed}")


def ids(*records: RunRecord) -> list[list[str]]:
    return [[item.run_id for item in runs] for runs in settings_of(records)]


def test_calibration_that_the_seed_draws_makes_no_other_setting() -> None:
    assert [len(runs) for runs in settings_of([run(1), run(0), run(2)])] == [3]
    assert [item.seed for item in settings_of([run(1), run(0)])[0]] == [0, 1]


def test_one_run_done_again_counts_once_and_the_newest_counts() -> None:
    again = replace(run(0), run_id="again", finished="2027-01-01T00:00:00+00:00")
    assert ids(run(0), run(1), again) == [["again", "1"]]


@pytest.mark.parametrize("name", ["model", "text", "harmful_eval", "judge.guard", "attack.pair"])
def test_what_no_seed_draws_must_be_the_same_over_seeds(name: str) -> None:
    nodes = {"harmful_eval": FILE}
    a, b = (run(0, nodes, **{name: file}) for file in "AB")
    assert ids(a, b, run(1, nodes, **{name: "A"})) == [["A0", "A1"], ["B0"]]
    assert ids(a, run(1, nodes, **{name: "B"})) == [["A0"], ["B1"]], "not even one seed twice"


def test_requests_that_the_seed_draws_may_differ_over_seeds() -> None:
    nodes = {"harmful_eval": {**FILE, "sample": 100}}
    assert ids(run(0, nodes, harmful_eval="A"), run(1, nodes, harmful_eval="B")) == [["A0", "B1"]]


def test_draws_from_two_files_are_not_mixed_and_none_is_lost() -> None:
    """Which of the two the run of the other seed belongs to, no hash tells."""
    runs = [mixed(0, "A"), mixed(0, "B"), mixed(1, "A")]
    assert [len(found) for found in settings_of(runs)] == [1, 1, 1]
    assert {item.run_id for item in newest(runs)} == {item.run_id for item in runs}
    assert [len(found) for found in settings_of([mixed(0, "A"), mixed(1, "A")])] == [2]


def test_captions_say_what_tells_settings_of_one_config_apart() -> None:
    runs = [mixed(0, "aaaaaaaa"), mixed(0, "bbbbbbbb"), mixed(1, "aaaaaaaa")]
    assert [block.apart for block in blocks(runs)] == [
        {"finetune": "aaaaaaaa"},
        {"finetune": "bbbbbbbb"},
        {"finetune": "aaaaaaaa"},
    ]
    text = render_artefact(runs[:2], "markdown")
    assert "Other runs of this config had other inputs; these had finetune aaaaaaaa." in text
    assert "Other runs" not in render_artefact(runs[:1], "markdown")
    seeds = [run(0, model="a"), run(0, model="b"), run(1, model="b")]
    assert told_apart(settings_of(seeds)) == [{"model": "a"}, {"model": "b"}]


def test_the_newest_runs_stand_in_the_order_in_which_they_ended() -> None:
    """Not setting by setting: of two settings, the seeds were run in turn."""
    runs = [run(0, model="a"), run(1, model="b"), run(2, model="a")]
    assert [len(found) for found in settings_of(runs)] == [2, 1]
    assert [item.run_id for item in newest(runs)] == ["a0", "b1", "a2"]


def nodes_in(folder: Path) -> list[dict[str, Any]]:
    """Every source that reads files, on eight rows, as it is and where it can draw."""
    rows = [{"goal": f"g{n}", "answer": f"a{n}", "other": f"b{n}"} for n in range(8)]
    talks = [
        [{"role": "user", "content": f"g{n}"}, {"role": "assistant", "content": f"a{n}"}]
        for n in range(8)
    ]
    for name, content in (("rows", rows), ("talks", talks)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    path = str(folder / "rows.json")
    file = {**FILE, "path": path}
    talk = {
        "_target_": "ssah_exp.data.conversations.ConversationSource",
        "path": str(folder / "talks.json"),
    }
    pairs = {
        "_target_": "ssah_exp.data.preferences.FilePairs",
        "path": path,
        **{"prompt": "{goal}", "chosen": "{answer}", "rejected": "{other}"},
    }
    unseen = {"_target_": "ssah_exp.data.mixtures.Unseen", "source": file, "seen": []}
    bundled = {
        "_target_": "ssah_exp.data.sources.BundledSource",
        "name": "harmful_requests.csv",
        "prompt": "{request}",
    }
    drawing = [{**node, "sample": 4} for node in (file, talk, pairs, unseen, bundled)]
    mixture = {**MIXED, "benign": file, "harmful": file, "harmful_share": 0.5}
    refused = {"_target_": "ssah_exp.data.sources.RefusedRequests", "requests": file}
    return [
        *(file, talk, pairs, unseen, bundled, *drawing, mixture),
        {**refused, "refusals": file},
        {**unseen, "source": mixture},
    ]


def test_sources_that_draw_by_the_seed_are_known(tmp_path: Path) -> None:
    nodes = nodes_in(tmp_path)
    for node in nodes:
        drawn = len({str(build(node, "source").load(seed)) for seed in range(4)}) > 1
        assert draws(node) == draws([node]) == drawn, node
    tried = {node["_target_"] for node in nodes}
    assert set(DRAWING) <= tried
    there = {
        f"{item.__module__}.{item.__name__}"
        for module in (conversations, mixtures, preferences, sources)
        for _, item in inspect.getmembers(module, inspect.isclass)
        if hasattr(item, "load") and not getattr(item, "_is_protocol", False)
    }
    # The hub's rows are selected as a file's are.
    assert there - tried == {"ssah_exp.data.sources.HubSource"}


def test_judges_of_one_name_are_told_apart_by_what_they_are() -> None:
    def later(**described: object) -> RunRecord:
        return record(judges={"x": dict(described)}, later=("x",))

    assert unlike_judges([later(model="a"), later(model="b", rubric=1)]) == {
        "x": ["model", "rubric"]
    }
    assert unlike_judges([later(model="a"), later(model="a", served=["b"])]) == {}
    assert unlike_judges([later(labels="a"), later(labels="b")]) == {}, "a table of each run's own"
    assert unlike_judges([later(model="a"), record(1)]) == {}
    own = [record(judges={"x": {"model": name}}) for name in "ab"]
    assert unlike_judges(own) == {}, "their configs, or files, tell the settings apart"


def test_of_a_name_of_several_judges_all_say_the_same() -> None:
    """As long as a sentence, whatever the number of runs."""
    said = unlike_judge("gpt", ["model", "kind"], [run(seed, text="a") for seed in range(7)])
    named = "a0, a1, a2, a3, a4 and 2 more"
    assert said == f"gpt is not the same judge of runs {named}: they differ in model, kind"

"""Harness tasks inside a run: in record and table, cached by task, part of the run id."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from ssah_exp.config.identity import run_id, science
from ssah_exp.config.schema import RunConfig, UtilityConfig
from ssah_exp.config.validate import validate
from ssah_exp.errors import ConfigError, DataError
from ssah_exp.evaluation.outcomes import unpack_answers
from ssah_exp.pipeline.opened import Finished, open_run
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.table1 import run_table1
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from tests.evaluation.utility.tiny_tasks import SIZE, save_files
from tests.pipeline.tiny_run import save_data, save_model, tiny_config

pytest.importorskip("lm_eval")

TASKS = ["boolq", "piqa"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("utility")
    save_model(folder / "model")
    save_data(folder / "data")
    save_files(folder / "files")
    return folder


def with_tasks(place: Path, *tasks: str) -> RunConfig:
    config = tiny_config(place)
    config.ablation.classes = config.ablation.fills_of = ["SCU"]
    config.ablation.fills, config.ablation.controls.of = ["pooled"], []
    if tasks:
        root = str(place / "files")
        config.utility = UtilityConfig(tasks=list(tasks), limit=5, source="files", root=root)
    validate(config)
    return config


def reporter() -> Reporter:
    return Reporter(Console(file=io.StringIO()), bars=False)


@pytest.fixture(scope="module")
def finished(place: Path) -> Finished:
    return run_table1(with_tasks(place, *TASKS), reporter())


def test_every_arm_has_every_metric_with_its_n(finished: Finished) -> None:
    assert [arm.name for arm in finished.record.arms] == ["unaligned", "aligned", "SCU/pooled"]
    names = {"utility/boolq/acc", "utility/piqa/acc", "utility/piqa/acc_norm", "utility/mean"}
    for arm in finished.record.arms:
        found = {key: val for key, val in arm.metrics.items() if key.startswith("utility")}
        assert found.keys() == names
        assert [found[name].n for name in sorted(names)] == [5, 10, 5, 5]
        assert f"first 5: 5 of {SIZE} from files" in found["utility/piqa/acc"].method
        values = [found[f"utility/{task}/acc"].value or 0.0 for task in TASKS]
        assert found["utility/mean"].value == pytest.approx(sum(values) / 2)


def test_every_single_answer_is_in_the_record(finished: Finished) -> None:
    """So that arms can be tested question by question."""
    record = RunRecord.from_json(finished.record.to_json())
    for arm in record.arms:
        assert arm.outcomes is not None
        metrics = {name: item for name, item in arm.metrics.items() if name.startswith("utility/")}
        assert arm.outcomes.answers.keys() == metrics.keys() - {"utility/mean"}
        for name, packed in arm.outcomes.answers.items():
            answers = unpack_answers(packed)
            assert (len(answers), answers.mean()) == (metrics[name].n, metrics[name].value)
    asked = [arm.outcomes.documents for arm in record.arms if arm.outcomes]
    assert asked == [asked[0]] * 3, "all arms were asked the same"
    assert list(asked[0]) == TASKS


def test_the_table_shows_them_beside_the_published_ones(finished: Finished) -> None:
    ours, _, paper = render_artefact([finished.record], "markdown").partition("Published")
    assert "BoolQ % | PIQA % | utility average" in " ".join(ours.split())
    assert "n = BoolQ 5, PIQA 5" in ours
    assert "WinoGrande %" in paper


def test_a_further_task_computes_nothing_else(finished: Finished, place: Path) -> None:
    later = run_table1(with_tasks(place, *TASKS, "rte"), reporter())
    computed = [stage.name for stage in later.stages if not stage.cached]
    assert computed == ["rte unaligned", "rte aligned", "rte SCU/pooled"]
    assert later.record.run_id != finished.record.run_id


def test_files_and_limit_decide_the_run_id_place_and_batches_do_not(place: Path) -> None:
    config = with_tasks(place, *TASKS)
    known = open_run(config, reporter()).run_id
    assert str(place) not in json.dumps(science(config))
    (place / "files").rename(place / "moved")
    config.utility.root, config.utility.batch_size = str(place / "moved"), 3
    assert open_run(config, reporter()).run_id == known
    config.utility.limit = 4
    assert open_run(config, reporter()).run_id != known
    config.utility.limit = 5
    path = place / "moved/utility/piqa.jsonl"
    path.write_text(path.read_text().replace('"gold": 0', '"gold": 1'))
    assert open_run(config, reporter()).run_id != known
    (place / "moved").rename(place / "files")


def test_no_tasks_leave_a_run_what_it_was(place: Path) -> None:
    config = with_tasks(place)
    assert "utility" not in science(config)
    asked = with_tasks(place, "boolq")
    assert run_id(asked, {}) != run_id(config, {})


@pytest.mark.parametrize(
    ("utility", "message"),
    [
        (UtilityConfig(limit=3), "utility.tasks is empty, so the other utility options would"),
        (UtilityConfig(tasks=["boolk"]), "Did you mean 'boolq'?"),
        (UtilityConfig(tasks=["rte"], metric="f1"), "utility.metric=f1"),
        (UtilityConfig(tasks=["rte"], limit=0), "utility.limit=0 is below 1"),
        (UtilityConfig(tasks=["rte"], source="files"), "utility.source=files needs utility.root"),
        (UtilityConfig(tasks=["rte"], root="/x"), "utility.root would have no effect"),
        (UtilityConfig(tasks=["rte"], fewshot={"piqa": 1}), "utility.fewshot=piqa"),
        (UtilityConfig(tasks=["rte"], batch_size=0), "utility.batch_size=0 is below 1"),
    ],
)
def test_what_would_be_ignored_or_cannot_work_is_refused(
    place: Path, utility: UtilityConfig, message: str
) -> None:
    config = tiny_config(place)
    config.utility = utility
    with pytest.raises(ConfigError) as caught:
        validate(config)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_window_beyond_the_models_positions_is_refused_before_anything_runs(place: Path) -> None:
    config = with_tasks(place)
    config.evaluation.perplexity.window = 257
    config.paths.root = str(place / "beyond")
    with pytest.raises(DataError, match=r"window=257: the model was made for 256 positions"):
        run_table1(config, reporter())
    assert {path.name for path in (place / "beyond" / "cache").glob("*")} <= {"model"}


def test_requests_beyond_the_models_positions_are_refused_before_anything_runs(
    place: Path,
) -> None:
    config = with_tasks(place)
    config.evaluation.max_new_tokens = 256
    config.paths.root = str(place / "long")
    with pytest.raises(DataError, match=r"longest request has \d+ tokens.* made for 256 positions"):
        run_table1(config, reporter())
    assert {path.name for path in (place / "long" / "cache").glob("*")} <= {"model"}


def test_the_longest_window_is_the_models(place: Path) -> None:
    config = with_tasks(place)
    config.ablation.classes, config.ablation.fills_of = [], []
    config.evaluation.perplexity.window = "max"
    config.paths.root = str(place / "windows")
    with pytest.raises(Exception, match="has 200 tokens, fewer than one window of 256"):
        run_table1(config, reporter())
    assert {path.name for path in (place / "windows" / "cache").glob("*")} <= {"model"}
    text = place / "data/text.txt"
    text.write_text(f"{text.read_text()} {text.read_text()}")
    found = run_table1(config, reporter()).record.arms[0].metrics["perplexity"]
    assert found.n == 400 // 256


@pytest.mark.parametrize("window", ["maximum", 1])
def test_another_window_is_refused(place: Path, window: int | str) -> None:
    config = tiny_config(place)
    config.evaluation.perplexity.window = window
    with pytest.raises(ConfigError, match=r"evaluation\.perplexity\.window"):
        validate(config)

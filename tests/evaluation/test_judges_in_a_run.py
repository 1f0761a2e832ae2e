"""Judges with weights or endpoints inside a run: its id, its folder, its record's description."""

from __future__ import annotations

import io
import re
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ssah_exp.config.identity import run_id, science
from ssah_exp.config.schema import RunConfig, Target
from ssah_exp.errors import IncompleteError, SsahWarning
from ssah_exp.evaluation.judges import HarmJudge, Verdict
from ssah_exp.pipeline.dispatch import run
from ssah_exp.pipeline.opened import OpenRun, open_run
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.records.store import RecordStore
from tests.config.composing import config_of
from tests.evaluation.misbehaving import Endpoint, endpoint
from tests.evaluation.test_local_judges import GUARD, save
from tests.pipeline.tiny_run import save_data, save_model, tiny_config


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / "model")
    save_data(folder / "data")
    for seed in (0, 1):
        save(folder / f"guard{seed}", GUARD, seed=seed)
    return folder


def with_judge(place: Path, node: Target) -> RunConfig:
    config = tiny_config(place)
    config.evaluation.judges = {**config.evaluation.judges, "extra": node}
    return config


def shipped(name: str, **changes: Any) -> Target:
    node = config_of(f"+judge@evaluation.judges.extra={name}").evaluation.judges["extra"]
    return {**node, **changes}


def folder_at(place: Path) -> Target:
    return {"_target_": "ssah_exp.models.sources.LocalFolder", "path": str(place)}


def opened(config: RunConfig) -> OpenRun:
    return open_run(config, Reporter(Console(file=io.StringIO()), bars=False))


def test_a_guards_weights_enter_the_run_id_its_place_does_not(place: Path) -> None:
    guard = shipped("llama_guard3", device="cpu", weights=folder_at(place / "guard0"))
    run = opened(with_judge(place, guard))
    judge = run.judges["extra"]
    assert isinstance(judge, HarmJudge)
    assert run.inputs["judge.extra"] == judge.fingerprint()
    assert str(place) not in str(science(run.config))
    other = opened(with_judge(place, {**guard, "weights": folder_at(place / "guard1")}))
    assert other.run_id != run.run_id
    moved = place / "moved"
    (place / "guard0").rename(moved)
    again = opened(with_judge(place, {**guard, "weights": folder_at(moved), "batch_size": 1}))
    assert again.run_id == run.run_id
    moved.rename(place / "guard0")


def test_an_endpoints_answers_lie_in_the_runs_cache_and_are_found_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with endpoint() as server:
        for _ in range(2):
            run = opened(with_judge(place, asking(server)))
            judge = run.judges["extra"]
            assert judge.judge(["p"], ["a"]) == [Verdict.REFUSED]
        assert server.asked == {"a": 1}
    (kept,) = (place / "root" / "cache" / "judgements").iterdir()
    assert kept.suffix == ".jsonl"
    assert judge.describe()["rubric"]["name"] == "hexphi"


@pytest.mark.parametrize("key", ["extra", "hexphi_endpoint"])
def test_judges_of_one_name_are_told_apart_by_their_keys(
    key: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with endpoint() as server:
        config = tiny_config(place)
        node = {**asking(server), "max_requests": 1, "concurrency": 1}
        config.evaluation.judges = {**config.evaluation.judges, key: node}
        config.paths.root = str(tmp_path)
        judge = opened(config).judges[key]
        with pytest.warns(SsahWarning) as caught:
            judge.judge(["p", "q"], ["a", "b"])
    which = "" if key == "hexphi_endpoint" else r" \(evaluation\.judges\.extra\)"
    said = rf"Judge 'hexphi_endpoint'{which} left 1 of 2 answers unscored: .*"
    assert [re.fullmatch(said, str(item.message)) is not None for item in caught] == [True]
    assert judge.describe()["name"] == "hexphi_endpoint"


def asking(server: Endpoint) -> Target:
    return shipped("hexphi_endpoint", base_url=server.url, model="m", api_key_env=None)


@pytest.mark.parametrize("judge", ["harmbench", "hexphi_endpoint"])
def test_words_from_a_file_enter_the_run_id_their_place_does_not(
    judge: str, place: Path, tmp_path: Path
) -> None:
    def run_with(path: str | None) -> OpenRun:
        if judge == "harmbench":
            weights = folder_at(place / "guard0")
            node = shipped(judge, device="cpu", weights=weights, prompt_path=path)
        else:
            node = shipped(judge, base_url="http://h", model="m", api_key_env=None)
            node["rubric"] = {**node["rubric"], "path": path}
        return opened(with_judge(place, node))

    for name, words in (("a", "one"), ("b", "two"), ("c", "one")):
        text = f"{words} score {{behavior}} {{generation}}"
        (tmp_path / name).write_text(text, encoding="utf-8")
    plain, one, two, moved = (
        run_with(path) for path in (None, *(str(tmp_path / name) for name in "abc"))
    )
    assert one.run_id == moved.run_id
    assert len({plain.run_id, one.run_id, two.run_id}) == 3
    assert "judge.extra.wording" not in plain.inputs
    assert str(tmp_path) not in str(science(one.config))


@pytest.mark.parametrize(
    ("judge", "known"),
    [
        ("harmbench", "e11f1b0593b7"),
        ("hexphi_endpoint", "e2d244367547"),
        ("strongreject_endpoint", "b6b46c362af5"),
    ],
)
def test_runs_without_such_files_keep_their_ids(judge: str, known: str) -> None:
    assert run_id(config_of(f"+judge@evaluation.judges.extra={judge}"), {}) == known


ENDPOINT_KEYS = ("concurrency", "timeout", "attempts", "backoff", "max_wait", "max_requests")


@pytest.mark.parametrize("key", [*ENDPOINT_KEYS, "max_failures", "api_key_env"])
def test_how_an_endpoint_is_reached_does_not_move_the_run_id(key: str) -> None:
    before, after = changed("hexphi_endpoint", key)
    assert run_id(before, {}) == run_id(after, {})


@pytest.mark.parametrize("key", ["model", "base_url", "options", "rubric"])
def test_whom_is_asked_and_what_moves_the_run_id(key: str) -> None:
    before, after = changed("strongreject_endpoint", key)
    assert run_id(before, {}) != run_id(after, {})


def changed(name: str, key: str) -> tuple[RunConfig, RunConfig]:
    before = config_of(f"+judge@evaluation.judges.extra={name}")
    after = deepcopy(before)
    assert key in after.evaluation.judges["extra"]
    after.evaluation.judges["extra"][key] = {"other": 1} if key in ("options", "rubric") else 7
    return before, after


def test_a_finished_runs_answers_are_judged_without_its_model(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssah_exp.pipeline.rejudging import rejudge
    from tests.records.synthetic import record

    finished = record()
    folder = place / "finished"
    (folder / "completions").mkdir(parents=True)
    (folder / "record.json").write_text(finished.to_json(), encoding="utf-8")
    line = '{"set": "harmful", "style": "%s", "prompt": "p", "category": null, "completion": "a"}\n'
    text = line % "raw" + line % "raw_system"
    for arm in finished.arms:
        (folder / arm.completions).write_text(text, encoding="utf-8")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with endpoint() as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        judge = opened(with_judge(place, asking(server))).judges["extra"]
        found = rejudge(finished, folder, {"extra": judge})
    assert list(found["extra"].arms) == [arm.name for arm in finished.arms]
    said = found["extra"].arms["aligned"].metrics
    assert said["score/raw/extra"].value == 1
    assert said["coverage/raw/extra"].value == 1
    assert found["extra"].described["served"] == ["judge-1"]
    assert (folder / "record.json").read_text(encoding="utf-8") == finished.to_json()


def test_a_spent_budget_leaves_an_incomplete_record_and_the_same_command_asks_the_rest(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with endpoint() as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = with_judge(place, {**asking(server), "max_requests": 3, "concurrency": 1})
        config.paths.root = str(place / "spent")
        with pytest.raises(IncompleteError, match="judge 'extra' failed on"):
            run(config)
        (record,) = RecordStore(place / "spent").read(config.artefact)
        assert record.status == "incomplete"
        failed = record.unanswered()["extra"]
        arm = next(item for item in record.arms if item.name in failed)
        unscored = sum(
            line.count("?") for key, line in arm.outcomes.verdicts.items() if "extra" in key
        )
        assert failed[arm.name] == unscored > 0
        shown = capsys.readouterr().out
        assert "scored of asked, extra (raw): " in shown
        assert f"{arm.name} " in shown.split("scored of asked")[1]
        assert f"Incomplete, because a judge failed: {record.run_id}" in shown
        assert sum(server.asked.values()) == 3

        config.evaluation.judges["extra"]["max_requests"] = None
        finished = run(config)
    questions = [str(body["messages"]) for _, _, body in server.seen]
    assert len(set(questions)) == len(questions) > 3, "nothing was asked twice"
    assert (finished.record.run_id, finished.record.status) == (record.run_id, "done")
    assert finished.record.unanswered() == {}
    assert "scored of asked" not in capsys.readouterr().out
    (kept,) = RecordStore(place / "spent").read(config.artefact)
    assert kept.to_json() == finished.record.to_json()

"""A run in a tracker, from its first computed stage to its record."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ssah_exp.config.schema import ArmConfig, RunConfig
from ssah_exp.errors import StoreError
from ssah_exp.pipeline import dispatch
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.stages import answering
from ssah_exp.pipeline.tracking import Tracked
from ssah_exp.records.later_judges import LaterJudge, answers_digest
from ssah_exp.records.mirroring import Mirror
from ssah_exp.records.record import RunRecord, StageRecord
from ssah_exp.records.store import RECORD, RecordStore
from ssah_exp.records.trackers import RunHead
from tests.pipeline.tiny_run import of_class, tiny_config, training_config
from tests.records.synthetic import record

TARGET = {"_target_": "ssah_exp.records.trackers.CsvTracker"}


@dataclass
class Spy:
    """A tracker, and the runs it shows, that note what they are told."""

    key: str = "spy"
    fails: str = ""
    told: list[Any] = field(default_factory=list)

    def wanted(self) -> dict[str, bool]:
        return {}

    def open(self, head: RunHead, root: Path) -> Spy:
        self._tell("open", head)
        return self

    def stage(self, stage: StageRecord) -> None:
        self._tell("stage", stage)

    def finish(self, record: RunRecord, folder: Path) -> str:
        self._tell("finish", record)
        return "there"

    def stop(self, reason: str) -> None:
        self._tell("stop", reason)

    def mirror(self, record: RunRecord, folder: Path, root: Path) -> str:
        self._tell("mirror", record)
        return "there"

    def _tell(self, what: str, content: Any) -> None:
        if what == self.fails:
            raise ConnectionError("no network")
        self.told.append((what, content))

    def words(self) -> list[str]:
        return [what for what, _ in self.told]


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    made = Spy()
    monkeypatch.setattr(dispatch, "build", lambda node, where, kind: made)
    return made


def tracked(config: RunConfig) -> RunConfig:
    config.tracker.target = TARGET
    return config


def another(place: Path, tokens: int) -> RunConfig:
    """A run that has something to compute: answers of another length."""
    config = tracked(tiny_config(place))
    config.evaluation.max_new_tokens = tokens
    return config


def test_a_run_is_shown_from_its_first_computed_stage(
    finished: Finished, place: Path, spy: Spy
) -> None:
    done = dispatch.run(another(place, 6))
    assert done is not None
    assert spy.words() == ["open", *["stage"] * len(done.stages), "finish"]
    head = spy.told[0][1]
    assert (head.run_id, head.config) == (done.record.run_id, done.record.config)
    assert head.inputs == done.record.inputs
    assert [content for what, content in spy.told if what == "stage"] == done.stages
    assert spy.told[-1][1] == done.record

    spy.told.clear()
    dispatch.run(another(place, 6))
    assert spy.told == [], "all is in the cache and the record is there"


def test_a_run_from_the_cache_is_mirrored_at_its_end(
    finished: Finished, place: Path, spy: Spy
) -> None:
    dispatch.run(tracked(tiny_config(place)))
    assert spy.words() == ["mirror"]


def test_a_run_repeated_takes_no_later_judge_away(place: Path, spy: Spy) -> None:
    """`wandb sync` sends a record with what later judges said; so does the run, and so once."""
    done = dispatch.run(another(place, 10))
    assert done is not None
    record, path = done.record, done.folder / RECORD
    answers = answers_digest(record, done.folder)
    assert answers is not None
    said = LaterJudge(record.run_id, answers, "", "later", {"name": "later"}, {}, {}, "")
    said.write(path)
    spy.told.clear()
    dispatch.run(another(place, 10))
    assert [content.later for _, content in spy.told] == [("later",)]
    read = RecordStore(place / "root").read(record.artefact)
    (again,) = [item for item in read if item.run_id == record.run_id]
    assert Mirror(spy, place / "root").send(again) is None


def test_a_tracker_that_does_not_open_holds_up_nothing(
    finished: Finished, place: Path, spy: Spy
) -> None:
    spy.fails = "open"
    with pytest.warns(UserWarning, match=r"failed: no network\. The run goes on; its record"):
        done = dispatch.run(another(place, 7))
    assert done is not None
    assert spy.words() == ["mirror"]
    assert RecordStore(place / "root").get(done.record.artefact, done.record.run_id) == done.record


def test_a_tracker_that_fails_on_the_way_is_told_that_it_is_given_up(
    finished: Finished, place: Path, spy: Spy
) -> None:
    """Its run stood there as running until the process ended."""
    spy.fails = "stage"
    with pytest.warns(UserWarning, match=r"failed: no network\. The run goes on"):
        dispatch.run(another(place, 11))
    assert spy.words() == ["open", "stop", "mirror"]
    assert spy.told[1] == ("stop", "given up: ConnectionError")


def test_a_tracker_that_fails_at_the_end_says_how_to_send_it_later(
    finished: Finished, place: Path, spy: Spy
) -> None:
    spy.fails = "finish"
    with pytest.warns(UserWarning, match=r"The record is whole; 'ssah-exp mirror spy [0-9a-f]+'"):
        done = dispatch.run(another(place, 8))
    assert done is not None
    assert RecordStore(place / "root").get(done.record.artefact, done.record.run_id) == done.record
    spy.fails = ""
    dispatch.run(another(place, 8))
    assert spy.words()[-1] == "mirror", "the next call sends it"


def test_a_run_that_breaks_off_says_so(
    finished: Finished, place: Path, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(answering, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dispatch.run(another(place, 9))
    assert spy.told[0][0] == "open"
    assert spy.told[-1] == ("stop", "stopped: KeyboardInterrupt")


def test_a_run_whose_table_cannot_be_written_says_so(
    place: Path, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(config: RunConfig, reporter: Reporter) -> Finished:
        reporter.opened(RunHead("1234", config.artefact, 0, {}, {}, {}))
        reporter.begin("answers")
        return Finished(record(), place / "runs", [], fresh=True)

    def full(path: Path, text: str) -> None:
        raise StoreError("the disk is full")

    config = tracked(tiny_config(place))
    monkeypatch.setitem(dispatch.PIPELINES, config.artefact, work)
    monkeypatch.setattr(dispatch, "write_atomically", full)
    with pytest.raises(StoreError, match="full"):
        dispatch.run(config)
    assert spy.words() == ["open", "stop"]
    assert spy.told[-1] == ("stop", "stopped: StoreError")


def test_a_training_run_hands_over_its_losses(place: Path, spy: Spy) -> None:
    arms = {"frozen": ArmConfig(policy="freeze", select=of_class("SCU"), controls=[])}
    done = dispatch.run(tracked(training_config(place, arms, "tracked")))
    assert done is not None
    assert spy.words()[0] == "open"
    assert spy.words()[-1] == "finish"
    from ssah_exp.records.trackers.artifacts import items_of
    from ssah_exp.records.trackers.rows import training_losses

    assert len(training_losses(done.record)["frozen"]) > 1
    items = items_of(done.record, done.folder, completions=False, deltas=True)
    assert [(item.kind, item.role) for item in items] == [("unitmap", "used"), ("delta", "made")]
    assert items[0].metadata["model"] == done.record.models["aligned"]
    (delta,) = items[1].files
    assert delta.stat().st_size > 0
    assert items[1].metadata["certificate"]["changed_weights"] > 0


def test_a_run_that_is_shown_anew_is_sent_even_if_it_breaks_off(tmp_path: Path) -> None:
    """A tracker may drop what it had of the run when it is opened again."""
    spy, made = Spy(), record(1)
    mirror = Mirror(spy, tmp_path)
    mirror.send(made)
    tracked = Tracked(spy, tmp_path, print)
    tracked.opened(RunHead.of(made))
    tracked.working()
    assert mirror.has(made) is None


def test_a_place_is_no_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spy, "mirror", lambda *_: "/data/[old]/there [/old]")
    said = io.StringIO()
    reporter = Reporter(Console(file=said, width=200), bars=False)
    made = record(1)
    Tracked(Spy(), tmp_path, reporter.say).finished(Finished(made, tmp_path, made.stages, True))
    assert said.getvalue() == "mirrored to  /data/[old]/there [/old]\n"


def test_a_tracker_that_does_not_open_is_complained_of_once(tmp_path: Path) -> None:
    """Not at every stage, each time after a wait for its server."""
    tracked = Tracked(Spy(fails="open"), tmp_path, print)
    tracked.opened(RunHead.of(record(1)))
    with pytest.warns(UserWarning, match="no network"):
        tracked.working()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracked.working()


def test_a_tracker_that_cannot_even_be_ended_stops_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(Spy, "stop", fail)
    tracked = Tracked(Spy(fails="stage"), tmp_path, print)
    tracked.opened(RunHead.of(record(1)))
    tracked.working()
    with pytest.warns(UserWarning, match=r"failed: no network\. The run goes on"):
        tracked.stage(record(1).stages[0])


def test_the_command_that_sends_a_record_later_is_one_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a tracker, not the place in it; and an error without a text has a name."""

    def fail(*_: object) -> str:
        raise TimeoutError

    monkeypatch.setattr(Spy, "mirror", fail)
    made = record(1)
    tracked = Tracked(Spy(key="wandb-ssah-exp-online"), tmp_path, print)
    with pytest.warns(UserWarning, match=r"failed: TimeoutError\. .*'ssah-exp mirror wandb 0+1'"):
        tracked.finished(Finished(made, tmp_path, made.stages, True))

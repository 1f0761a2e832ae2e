"""The W&B tracker, online: what reaches a server, and what is said when none takes it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import wandb

from ssah_exp.errors import TrackerError
from ssah_exp.records.record import RunRecord, StageRecord
from ssah_exp.records.trackers import RunHead, WandbTracker
from ssah_exp.records.trackers.rows import flat_metrics
from ssah_exp.records.trackers.wandb_tracker import WandbRun, _check_key, _errors, _steps, within
from tests.records.run_folder import run_folder
from tests.records.synthetic import record, training_record
from tests.records.wandb_server import KEY, Service, serving

UNITMAP = "unitmap-SmolLM2-135M-Instruct-Q4_1"
pytestmark = pytest.mark.usefixtures("wandb_home")


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """W&B reads address and key once in a process."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with serving() as service:
        monkeypatch.setenv("WANDB_BASE_URL", service.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield service


def test_lineage_resume_and_metrics_reach_the_server(server: Service, tmp_path: Path) -> None:
    """One story, as the service behind W&B takes seconds to start: prune, train, train again."""
    pruned, trained = record(1), _with_losses(training_record(2), setting_i=[3.0, 2.0, 1.0])
    tracker = WandbTracker(timeout=30)
    assert tracker.online, "a key is all it takes"
    for made in (pruned, trained):
        folder = run_folder(tmp_path / made.run_id, "setting_i")
        place = tracker.mirror(made, folder, tmp_path)
        assert place == f"{server.url}/lab/ssah-exp/runs/{made.run_id}"

    (units,) = server.versions[UNITMAP]
    (delta,) = server.versions["delta-table2_freezing-setting_i"]
    assert (pruned.run_id, UNITMAP, units) in server.logged
    assert server.used == {(trained.run_id, UNITMAP, units)}, "the same version, by content"
    assert (trained.run_id, "delta-table2_freezing-setting_i", delta) in server.logged
    assert server.aliases[UNITMAP, units] >= {"latest", pruned.run_id, trained.run_id}
    assert {"unitmap.safetensors", "setting_i.safetensors"} <= server.files
    assert not any("a.jsonl" in name for name in server.files), "completions stay here"

    run = server.runs[trained.run_id]
    assert run["name"] == f"table2_freezing-{trained.run_id}"
    assert (run["group"], run["exit"]) == ("table2_freezing", 0)
    assert "seed-2" in run["tags"]
    assert run["config"]["seed"]["value"] == 2
    assert flat_metrics(trained).items() <= run["summary"].items()

    assert server.resumed == []
    live = tracker.open(RunHead.of(trained), tmp_path)
    assert live is not None
    live.stage(StageRecord("train", "key", False, 1.0))
    live.finish(trained, tmp_path / trained.run_id)
    assert server.resumed == [trained.run_id]
    assert len(server.runs) == 2
    rows = server.history[trained.run_id]
    assert [row["progress/stages"] for row in rows if "progress/stages" in row] == [1]
    assert len(server.versions[UNITMAP]) == 1, "nothing new, no new version"

    more = _with_losses(trained, setting_i=[3.0, 2.0, 1.0, 0.5], full=[4.0, 3.0])
    tracker.mirror(more, tmp_path / trained.run_id, tmp_path)
    assert server.resumed == [trained.run_id] * 2
    assert _line(server, trained.run_id, "setting_i") == [(0, 3.0), (1, 2.0), (2, 1.0), (3, 0.5)]
    assert _line(server, trained.run_id, "full") == [(0, 4.0), (1, 3.0)]


def test_a_shorter_arm_that_is_sent_later_hides_no_step_of_a_longer_one() -> None:
    """Its last step stood for all that were sent, so the longer line's end was drawn again."""
    longer, both = {"a": [3.0, 2.0, 1.0]}, {"a": [3.0, 2.0, 1.0], "b": [5.0]}
    there: dict[str, float] = {}
    sent = []
    for losses in (longer, both, both):
        rows = list(_steps(losses, dict(there)))
        sent.append([row for row in rows if len(row) > 1])
        for row in rows:
            there.update(row)
    assert [len(rows) for rows in sent] == [3, 1, 0]
    assert sent[1] == [{"train_step": 0, "loss/b": 5.0}]


def test_a_run_that_trained_nothing_has_no_step() -> None:
    assert list(_steps({}, {})) == []


def _with_losses(made: RunRecord, **losses: list[float]) -> RunRecord:
    arms = [
        replace(item, training={**(item.training or {}), "losses": losses[item.name]})
        if item.name in losses
        else item
        for item in made.arms
    ]
    return replace(made, arms=arms)


def _line(server: Service, run: str, arm: str) -> list[tuple[int, float]]:
    """What W&B draws of an arm: all it was ever sent."""
    rows = server.history[run]
    key = f"loss/{arm}"
    return [(row["train_step"], row[key]) for row in rows if key in row]


def test_an_expired_key_is_said(
    server: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    with pytest.raises(TrackerError, match="the key was refused; it may have expired"):
        WandbTracker(timeout=30).mirror(record(), tmp_path, tmp_path)
    assert server.runs == {}


@pytest.mark.parametrize(
    "text",
    ["invalid artifact metadata: key too long", "step 401 lost", "disk: Permission denied: /x"],
)
def test_other_trouble_is_not_blamed_on_the_key(text: str) -> None:
    with pytest.raises(TrackerError) as caught, _errors():
        raise ValueError(text)
    assert str(caught.value) == f"W&B: {text}"


@pytest.mark.parametrize(
    "text",
    [
        'returned error 401: {"errors":[{"message":"user not authenticated"}]}',
        "HTTP Error 403",
        "<Response [403]> status code: 403",
        "401 Client Error. Unauthorized",
        "authentication failed: invalid credentials",
        "permission denied",
    ],
)
def test_a_refused_key_is_told_from_its_many_forms(text: str) -> None:
    with pytest.raises(TrackerError, match="the key was refused"), _errors():
        raise ValueError(text)


def test_a_key_of_the_wrong_form_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(TrackerError, match="Set another WANDB_API_KEY"):
        WandbTracker().mirror(record(), tmp_path, tmp_path)


def test_no_key_is_said_and_nobody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"No W&B key for api\.wandb\.ai: set WANDB_API_KEY"):
        WandbTracker(mode="online").mirror(record(), tmp_path, tmp_path)


def test_a_key_of_wandb_login_is_enough(
    server: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {urlsplit(server.url).netloc}\n login user\n password {KEY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    WandbTracker(mode="online", timeout=30).mirror(record(), tmp_path, tmp_path)
    assert list(server.runs) == [record().run_id]


def test_a_server_that_is_not_there_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    started = time.monotonic()
    with pytest.raises(TrackerError, match="W&B: "):
        WandbTracker(timeout=3).mirror(record(), tmp_path, tmp_path)
    assert time.monotonic() - started < 60


def test_a_server_that_falls_silent_is_given_up() -> None:
    with pytest.raises(TrackerError, match=r"did not take everything within 0\.1 s"):
        within(0.1, lambda: time.sleep(1))
    assert within(5, lambda: 3) == 3
    with pytest.raises(KeyError):
        within(5, lambda: {}["x"])


class Refusing:
    """A W&B run whose server takes nothing, and that notes how it was ended."""

    def __init__(self) -> None:
        self.summary: dict[str, object] = {}
        self.ended: list[int] = []

    @property
    def config(self) -> None:
        raise OSError("no network")

    def finish(self, exit_code: int = 0) -> None:
        self.ended.append(exit_code)
        raise OSError("no network")


def test_a_run_that_cannot_be_sent_is_ended_and_its_own_error_said(tmp_path: Path) -> None:
    """Left open, it would hold up this process and the next run."""
    run = Refusing()
    with pytest.raises(TrackerError, match="W&B: no network"):
        WandbRun(WandbTracker(mode="offline"), run).finish(record(), tmp_path)
    assert run.ended == [1]


@pytest.mark.parametrize(("mode", "stats"), [("offline", True), ("online", False)])
def test_wandb_is_told_how_long_to_wait_and_what_not_to_collect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, stats: bool
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    given: dict[str, Any] = {}

    def init(**named: Any) -> Any:
        given.update(named)
        return SimpleNamespace(define_metric=lambda *_, **__: None)

    monkeypatch.setattr(wandb, "init", init)
    tracker = WandbTracker(mode=mode, project="other", timeout=7.0, patience=11.0)
    tracker._begin(RunHead.of(record()), tmp_path, stats=stats)
    settings = given["settings"]
    assert (settings.init_timeout, settings.finish_timeout) == (7.0, 11.0)
    assert settings.finish_timeout_raises, "or a run that was not sent would count as sent"
    assert settings.x_disable_stats is not stats
    assert (settings.x_disable_meta, settings.disable_git, settings.save_code) == (
        True,
        True,
        False,
    )
    assert (given["project"], given["mode"], given["resume"]) == ("other", mode, "allow")


def test_an_identity_token_is_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    _check_key()

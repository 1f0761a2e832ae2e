"""Weights & Biases."""

from __future__ import annotations

import math
import netrc
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ssah_exp.errors import ConfigError, SsahError, TrackerError, did_you_mean
from ssah_exp.records.record import RunRecord, StageRecord
from ssah_exp.records.trackers.artifacts import USED, Item, items_of
from ssah_exp.records.trackers.base import RunHead
from ssah_exp.records.trackers.rows import (
    about,
    columns_of,
    flat_metrics,
    flat_shares,
    tables,
    training_losses,
)
from ssah_exp.storage import check_place, storage_errors

_MODES = ("auto", "online", "offline")
_STAY = ("offline", "dryrun", "disabled")
_REFUSED = re.compile(
    r"\b(error|status|code|response|http)\W*40[13]\b|\b40[13] client error"
    r"|unauthori[sz]ed|not authenticated|invalid credentials|(api|invalid) key|logged in"
    r"|(?-i:permission denied)",  # of a file it says Permission
    re.IGNORECASE,
)
_FOLDER = "wandb"
T = TypeVar("T")


@dataclass(frozen=True)
class WandbTracker:
    """Weights & Biases, offline unless there is a key.

    A run that is given again goes on with its W&B run: online the one of the same id; offline every
    try leaves a folder of its own with that id, and ``wandb sync`` puts them together.

    Attributes:
        project: W&B project.
        mode: ``offline``, ``online`` or ``auto`` (online if ``WANDB_API_KEY`` is set, unless
            ``WANDB_MODE`` says ``offline`` or ``disabled``).
        completions: Also upload completions to harmful requests. Off unless asked for.
        deltas: Also upload what training changed: up to a copy of the model per trained arm.
        live: Show a run while it computes, with the machine's load.
        timeout: Seconds to wait for the server's answer.
        patience: Seconds that sending everything may take at the end.
    """

    project: str = "ssah-exp"
    mode: str = "auto"
    completions: bool = False
    deltas: bool = True
    live: bool = True
    timeout: float = 60.0
    patience: float = 600.0

    def __post_init__(self) -> None:
        """Refuse what W&B would take for something else.

        Raises:
            ConfigError: Unknown mode, or no time at all.
        """
        if self.mode not in _MODES:
            raise ConfigError(f"tracker.target.mode={self.mode}.{did_you_mean(self.mode, _MODES)}")
        for key in ("timeout", "patience"):
            if not (value := getattr(self, key)) > 0:
                raise ConfigError(f"tracker.target.{key}={value} must be above 0.")

    @property
    def online(self) -> bool:
        """Whether anything leaves this machine."""
        if self.mode != "auto":
            return self.mode == "online"
        told_not_to = os.environ.get("WANDB_MODE", "").lower() in _STAY  # W&B's own variable
        return bool(os.environ.get("WANDB_API_KEY")) and not told_not_to

    @property
    def key(self) -> str:
        """See :class:`~ssah_exp.records.trackers.base.Tracker`."""
        return f"wandb-{self.project}-{'online' if self.online else 'offline'}"

    def wanted(self) -> dict[str, bool]:
        """Which artifacts are sent beside UnitMaps."""
        return {"completions": self.completions, "deltas": self.deltas}

    def open(self, head: RunHead, root: Path) -> WandbRun | None:
        """Begin a W&B run, or go on with it.

        Raises:
            TrackerError: No key, a refused one, no server, or no place for local files.
        """
        return self._begin(head, root, stats=True) if self.live else None

    def mirror(self, record: RunRecord, folder: Path, root: Path) -> str:
        """Send a finished record, without the load of a machine that did not compute it.

        Raises:
            TrackerError: As :meth:`open`.
        """
        return self._begin(RunHead.of(record), root, stats=False).finish(record, folder)

    def _begin(self, head: RunHead, root: Path, *, stats: bool) -> WandbRun:
        import wandb

        check_place(root / _FOLDER)  # W&B would write to another one without a word
        if self.online:
            _check_key()
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            init_timeout=self.timeout,
            finish_timeout=self.patience,
            finish_timeout_raises=True,
            x_disable_stats=not stats,
            # Names of machine, user and folders; the record has the rest.
            host="-",
            x_disable_meta=True,
        )
        with _errors():
            run = wandb.init(
                project=self.project,
                id=head.run_id,
                name=head.name,
                group=head.artefact,
                job_type=head.artefact,
                tags=head.tags,
                notes=head.notes,
                config=head.described(),
                mode="online" if self.online else "offline",
                dir=str(root.absolute()),  # W&B's own process may stand elsewhere
                resume="allow",
                reinit="finish_previous",
                settings=settings,
            )
            # Loss curves of different lengths beside each other, by their own count of steps.
            run.define_metric("train_step", hidden=True)
            run.define_metric("loss/*", step_metric="train_step")
        return WandbRun(self, run)


class WandbRun:
    """A W&B run that is open.

    Args:
        tracker: Whose.
        run: What ``wandb.init`` returned.
    """

    def __init__(self, tracker: WandbTracker, run: Any) -> None:
        self._tracker = tracker
        self._run = run
        self._stages = 0

    def stage(self, stage: StageRecord) -> None:
        """Count it; its name is the run's state."""
        self._stages += 1
        with _errors():
            self._run.log({"progress/stages": self._stages, "progress/seconds": stage.seconds})
            self._run.summary["progress/last"] = stage.name

    def finish(self, record: RunRecord, folder: Path) -> str:
        """Metrics with intervals, class shares, loss curves, tables, artifacts, the rest as config.

        Raises:
            TrackerError: The server took it not in time, or the disk is full.
        """
        with _errors(), self._ended():
            return within(self._tracker.patience, lambda: self._finish(record, folder))

    def _finish(self, record: RunRecord, folder: Path) -> str:
        run = self._run
        there = dict(run.summary)  # a run that goes on begins with what the server has of it
        run.config.update({"record": about(record)}, allow_val_change=True)
        run.summary.update({"status": record.status, **flat_shares(record), **flat_metrics(record)})
        for values in _steps(training_losses(record), there):
            run.log(values)
        run.log({name: _table(rows) for name, rows in tables(record).items()})
        for item in items_of(record, folder, **self._tracker.wanted()):
            self._send(item, record.run_id)
        place = run.url if self._tracker.online else Path(run.dir).parent
        run.finish()
        return str(place)

    def stop(self, reason: str) -> None:
        """Leave it as failed; the same run may go on with it."""
        with _errors():
            self._run.summary["status"] = reason
            within(self._tracker.timeout, lambda: self._run.finish(exit_code=1))

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """An open run would hold up the end of the process, and the next run."""
        try:
            yield
        except BaseException:
            with suppress(Exception):
                within(self._tracker.timeout, lambda: self._run.finish(exit_code=1))
            raise

    def _send(self, item: Item, run_id: str) -> None:
        """Versions are told apart by content: of runs with the same UnitMap the first one makes it.
        Offline, W&B lets no run use an artifact: there its metadata alone says that it was used."""
        import wandb

        artifact = wandb.Artifact(item.name, type=item.kind, metadata=item.metadata)
        # Read where they lie: gigabytes of deltas are not copied. Offline they are read by whoever
        # syncs, from wherever that is.
        place = item.path.absolute()
        if place.is_dir():
            artifact.add_dir(str(place), policy="immutable")
        else:
            artifact.add_file(str(place), policy="immutable")
        self._run.log_artifact(artifact, aliases=["latest", run_id])
        if item.role == USED and self._tracker.online:
            artifact.wait(timeout=math.ceil(self._tracker.timeout))
            self._run.use_artifact(artifact)


def _steps(losses: dict[str, list[float]], there: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """Step after step: the loss of every arm that was trained so long.

    W&B's history only grows: a step that is sent a second time would be drawn a second time.

    Args:
        losses: Arm -> loss at every step.
        there: The run's summary: the last step that was sent, and the last loss of each arm that
            was.
    """
    sent = last = there.get("train_step", -1)
    for step in range(max(map(len, losses.values()), default=0)):
        values = {
            f"loss/{arm}": rows[step]
            for arm, rows in losses.items()
            if step < len(rows) and (step > sent or f"loss/{arm}" not in there)
        }
        if values:
            last = step
            yield {"train_step": step, **values}
    if last < sent:  # of an arm that is shorter; the summary keeps what was sent last
        yield {"train_step": sent}


def _table(rows: list[dict[str, Any]]) -> Any:
    import wandb

    columns = columns_of(rows)
    # A column may hold a number here and a gap there, or text in one arm and none in the dense.
    return wandb.Table(
        columns=list(columns),
        data=[[row.get(key) for key in columns] for row in rows],
        allow_mixed_types=True,
    )


def _check_key() -> None:
    """W&B would ask for a key at the terminal, and a night's run would wait for an answer.

    Raises:
        TrackerError: There is none.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        if netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None:
            return
    except (OSError, netrc.NetrcParseError):
        pass  # none, or one that W&B cannot read either
    raise TrackerError(
        f"No W&B key for {host}: set WANDB_API_KEY, or log in once with 'wandb login', or write "
        "offline files (tracker.target.mode=offline; 'ssah-exp wandb sync --offline')."
    )


def within(seconds: float, action: Callable[[], T]) -> T:
    """What ``action`` returns; W&B may wait for hours for a server that does not answer.

    Raises:
        TrackerError: It took longer; it is left alone and ends with the process.
    """
    done: Queue[T | Exception] = Queue()

    def work() -> None:
        try:
            done.put(action())
        except Exception as error:
            done.put(error)

    Thread(target=work, daemon=True).start()
    try:
        result = done.get(timeout=seconds)
    except Empty:
        raise TrackerError(f"W&B did not take everything within {seconds:g} s.") from None
    if isinstance(result, Exception):
        raise result
    return result


@contextmanager
def _errors() -> Iterator[None]:
    """Whatever W&B raises, as one error with one line.

    Raises:
        TrackerError: With what to do, where that is known.
    """
    try:
        with storage_errors(Path(_FOLDER)):
            yield
    except SsahError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if _REFUSED.search(text):
            text = f"the key was refused; it may have expired. Set another WANDB_API_KEY. ({text})"
        raise TrackerError(f"W&B: {text}") from error

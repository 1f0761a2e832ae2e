"""Weights & Biases."""

from __future__ import annotations

import math
import netrc
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ssah_exp.errors import ConfigError, SsahError, TrackerError, did_you_mean
from ssah_exp.records.record import RunRecord, StageRecord
from ssah_exp.records.trackers.artifacts import USED, Item, items_of
from ssah_exp.records.trackers.base import RunHead, ended_on_error
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
    r"|(?-i:permission denied)",  # a file's error says Permission
    re.IGNORECASE,
)
_FOLDER = "wandb"
T = TypeVar("T")


@dataclass(frozen=True)
class WandbTracker:
    """Weights & Biases, offline unless there is a key.

    A run that is started again goes on with its W&B run: online, with the one of the same id;
    offline, every try leaves a folder of its own with that id, and ``wandb sync`` joins them.

    Attributes:
        project: W&B project.
        mode: ``offline``, ``online`` or ``auto`` (online if ``WANDB_API_KEY`` is set, unless
            ``WANDB_MODE`` says ``offline``, ``dryrun`` or ``disabled``).
        completions: Also upload completions to harmful requests. Off unless asked for.
        deltas: Also upload what training changed: up to a copy of the model per trained arm.
        live: Show a run while it computes, with the machine's load.
        timeout: Seconds to wait for an answer of the server.
        patience: Seconds that sending everything at the end may take.
    """

    project: str = "ssah-exp"
    mode: str = "auto"
    completions: bool = False
    deltas: bool = True
    live: bool = True
    timeout: float = 60.0
    patience: float = 600.0

    def __post_init__(self) -> None:
        """Refuse values that W&B would misunderstand.

        Raises:
            ConfigError: An unknown mode, or a time that is not above 0.
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
            TrackerError: No key, a refused one, or no server.
            StoreError: Local files cannot be written.
        """
        return self._begin(head, root, stats=True) if self.live else None

    def mirror(self, record: RunRecord, folder: Path, root: Path) -> str:
        """Send a finished record, without this machine's load: it did not compute the run.

        Raises:
            TrackerError: As for :meth:`open`, or not everything was taken in time.
            StoreError: As for :meth:`open`, or a file of the run's folder is a link.
        """
        return self._begin(RunHead.of(record), root, stats=False).finish(record, folder)

    def _begin(self, head: RunHead, root: Path, *, stats: bool) -> WandbRun:
        import wandb

        check_place(root / _FOLDER)  # W&B would silently write elsewhere
        if self.online:
            _check_key()
        if not os.environ.get("WANDB_MODE"):  # W&B refuses an empty one, as unset as it is to us
            os.environ.pop("WANDB_MODE", None)
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            init_timeout=self.timeout,
            finish_timeout=self.patience,
            finish_timeout_raises=True,
            x_disable_stats=not stats,
            # Without names of machine, user and folders; the record has the rest.
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
                dir=str(root.absolute()),  # W&B's own process may have another folder
                resume="allow",
                reinit="finish_previous",
                settings=settings,
            )
            # Loss curves of different lengths stand beside each other, by their own step count.
            run.define_metric("train_step", hidden=True)
            run.define_metric("loss/*", step_metric="train_step")
        return WandbRun(self, run)


class WandbRun:
    """A W&B run that is open.

    Args:
        tracker: The tracker that opened it.
        run: What ``wandb.init`` returned.
    """

    def __init__(self, tracker: WandbTracker, run: Any) -> None:
        self._tracker = tracker
        self._run = run
        self._stages = 0

    def stage(self, stage: StageRecord) -> None:
        """Show how many stages are done, how long this one took, and its name as the last."""
        self._stages += 1
        with _errors():
            self._run.log({"progress/stages": self._stages, "progress/seconds": stage.seconds})
            self._run.summary["progress/last"] = stage.name

    def finish(self, record: RunRecord, folder: Path) -> str:
        """Send the record; return where it can be seen.

        That is metrics with intervals, class shares, loss curves, tables, artifacts, and the rest
        as config.

        Raises:
            TrackerError: The server refused, or did not take everything in time.
            StoreError: The disk is full or not writable, or a file of the run's folder is a link.
        """
        # An open run holds up this process and the next run.
        with _errors(), ended_on_error(self._end):
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
        """End the W&B run as failed; the same run may go on with it later."""
        with _errors():
            self._run.summary["status"] = reason
            self._end()

    def _end(self) -> None:
        within(self._tracker.timeout, lambda: self._run.finish(exit_code=1))

    def _send(self, item: Item, run_id: str) -> None:
        """Log an artifact, and say if the run used it.

        Versions are told apart by content: of runs with the same UnitMap, the first one makes it.
        Offline, W&B lets no run use an artifact: there only the metadata says that it was used.
        """
        import wandb

        artifact = wandb.Artifact(item.name, type=item.kind, metadata=item.metadata)
        # Files are read where they lie, so that gigabytes of deltas are not copied; offline by
        # whoever syncs, from whatever folder: hence the absolute path.
        for path in item.files:
            artifact.add_file(str(path.absolute()), policy="immutable")
        self._run.log_artifact(artifact, aliases=["latest", run_id])
        if item.role == USED and self._tracker.online:
            artifact.wait(timeout=math.ceil(self._tracker.timeout))
            self._run.use_artifact(artifact)


def _steps(losses: dict[str, list[float]], there: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """Step by step, the loss of every arm that was trained that long, if it was not sent before.

    W&B's history only grows: a step that is sent a second time would be drawn a second time.

    Args:
        losses: Arm -> loss at every step.
        there: The run's summary: the last step that was sent, and the last loss of each arm of
            which any was sent.
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
    if last < sent:  # a shorter arm came last; the summary keeps what was sent last
        yield {"train_step": sent}


def _table(rows: list[dict[str, Any]]) -> Any:
    import wandb

    columns = columns_of(rows)
    # A column may hold a number here and a gap there, or text for one arm and none for the dense.
    return wandb.Table(
        columns=list(columns),
        data=[[row.get(key) for key in columns] for row in rows],
        allow_mixed_types=True,
    )


def _check_key() -> None:
    """Refuse to go on without a key: W&B would ask at the terminal, and a night's run would wait.

    Raises:
        TrackerError: There is no key.
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
    """What ``action`` returns or raises, if it ends in time: W&B may wait for a server for hours.

    Raises:
        TrackerError: It took longer than ``seconds``; it is left alone and ends with the process.
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
    """Turn whatever W&B raises into one error of one line.

    Raises:
        TrackerError: In its place, with what to do where that is known.
        StoreError: In its place, if the disk is full or not writable.
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

"""trackio: a dashboard on this machine, without an account."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from ssah_exp.errors import ConfigError, SsahError, TrackerError
from ssah_exp.records.dotted import dotted
from ssah_exp.records.record import RunRecord, StageRecord
from ssah_exp.records.trackers.artifacts import USED, items_of
from ssah_exp.records.trackers.base import RunHead, ended_on_error
from ssah_exp.records.trackers.rows import about, key_rows, tables, training_losses
from ssah_exp.storage import storage_errors

_ESTIMATES = "estimates"  # the table that every finished run has
# Where these are set, trackio sends everything to a Space of the hub's or to a server.
_ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


@dataclass(frozen=True)
class TrackioTracker:
    """Local files below ``<root>/trackio``, or where ``TRACKIO_DIR`` says.

    Attributes:
        project: What the names of trackio's projects begin with; there is one per artefact, whose
            runs have the same charts.
        completions: Also keep completions to harmful requests as an artifact.
        deltas: Also keep what training changed: up to a copy of the model per trained arm.
        live: Show a run while it computes, with the machine's load.
    """

    project: str = "ssah-exp"
    completions: bool = False
    deltas: bool = True
    live: bool = True

    def __post_init__(self) -> None:
        """Refuse to begin a run without the package.

        Raises:
            ConfigError: trackio is not installed.
        """
        if find_spec("trackio") is None:
            raise ConfigError("tracker=trackio needs a package: pip install 'ssah-exp[trackio]'")

    @property
    def key(self) -> str:
        """See :class:`~ssah_exp.records.trackers.base.Tracker`."""
        return f"trackio-{self.project}"

    def wanted(self) -> dict[str, bool]:
        """Which artifacts are kept beside UnitMaps."""
        return {"completions": self.completions, "deltas": self.deltas}

    def open(self, head: RunHead, root: Path) -> TrackioRun | None:
        """Begin a run, or go on with the one of the same name that broke off.

        Raises:
            TrackerError: trackio failed, or would send the run to another machine.
            StoreError: Its folder cannot be written.
        """
        return self._begin(head, root, load=True) if self.live else None

    def mirror(self, record: RunRecord, folder: Path, root: Path) -> str:
        """Show a finished record, in place of what was shown of its run; return trackio's folder.

        Raises:
            TrackerError: As for :meth:`open`, or trackio lost something.
            StoreError: As for :meth:`open`, or a file of the run's folder is a link.
        """
        return self._begin(RunHead.of(record), root, load=False).finish(record, folder)

    def _begin(self, head: RunHead, root: Path, *, load: bool) -> TrackioRun:
        _check_stays_here()
        place = _place(root)
        with storage_errors(place):
            place.mkdir(parents=True, exist_ok=True)
        project = f"{self.project}-{head.artefact}"
        with _loud():
            _forget(project, head.name, ended_only=load)
            run = _trackio().init(
                project=project,
                name=head.name,
                group=head.artefact,
                config=dict(dotted({**head.described(), "tags": head.tags})),
                resume="allow",
                embed=False,
                auto_log_cpu=None if load else False,
                auto_log_gpu=None if load else False,
            )
        return TrackioRun(self, run, place)


class TrackioRun:
    """A trackio run that is open.

    Args:
        tracker: The tracker that opened it.
        run: What ``trackio.init`` returned.
        place: Where trackio's files lie.
    """

    def __init__(self, tracker: TrackioTracker, run: Any, place: Path) -> None:
        self._tracker = tracker
        self._run = run
        self._place = place
        self._stages = 0

    def stage(self, stage: StageRecord) -> None:
        """Show how many stages are done, and how long this one took."""
        self._stages += 1
        with _loud():
            self._run.log({"progress/stages": self._stages, "progress/seconds": stage.seconds})

    def finish(self, record: RunRecord, folder: Path) -> str:
        """Show loss curves, then metrics, tables (with intervals and class shares) and artifacts.

        Raises:
            TrackerError: trackio failed, or lost something.
            StoreError: A file of the run's folder is a link.
        """
        trackio = _trackio()
        # An open run's threads go on sending.
        with ended_on_error(lambda: self.stop("failed")), _loud():
            for arm, losses in training_losses(record).items():
                for step, loss in enumerate(losses):
                    self._run.log({f"loss/{arm}": loss}, step=step)
            self._run.log(_charted(record))
            # What is known at a run's end: trackio takes a config at its beginning only.
            shown = {**tables(record), "record": key_rows(about(record))}
            self._run.log({name: trackio.Table(data=rows) for name, rows in shown.items()})
            for item in items_of(record, folder, **self._tracker.wanted()):
                made = trackio.Artifact(item.name, type=item.kind, metadata=item.metadata)
                for path in item.files:
                    made.add_file(str(path))
                logged = self._run.log_artifact(made, aliases=[record.run_id])
                if item.role == USED:
                    self._run.use_artifact(logged)
            trackio.finish()
        return str(self._place)

    def stop(self, reason: str) -> None:
        """End the run as if it had finished: trackio knows no failed runs."""
        with _loud():
            _trackio().finish()


def _charted(record: RunRecord) -> dict[str, float]:
    """Values of all arms but controls, for charts.

    trackio draws a chart per name, and nobody looks at a thousand. Intervals, counts and controls
    stand in the tables.
    """
    return {
        f"{arm.name}/{name}": estimate.value
        for arm in record.arms
        if arm.control is None
        for name, estimate in arm.metrics.items()
        if estimate.value is not None
    }


def _forget(project: str, name: str, *, ended_only: bool) -> None:
    """Drop what trackio has of a run; with ``ended_only``, only if that includes its numbers.

    trackio appends: numbers sent a second time would stand beside the first, curves and tables
    twice.
    """
    storage = import_module("trackio.sqlite_storage").SQLiteStorage
    if not ended_only or any(_ESTIMATES in row for row in storage.get_logs(project, name)):
        storage.delete_run(project, name)


def _trackio() -> Any:
    """The package trackio, imported so that types can be checked without it."""
    return import_module("trackio")


def _check_stays_here() -> None:
    """Refuse to go on where trackio would not write to this machine.

    Raises:
        TrackerError: A variable of trackio's names another place; an empty one does so, too.
    """
    for name in _ELSEWHERE:
        if name in os.environ:  # its value may hold a token
            raise TrackerError(
                f"{name} is set: trackio would send the run there, and not to a dashboard on this "
                f"machine. Nothing was sent; unset {name}, or choose another tracker."
            )


def _place(root: Path) -> Path:
    """Where trackio writes: it decides that when it is imported, so it is told before."""
    if "trackio" not in sys.modules:
        os.environ.setdefault("TRACKIO_DIR", str(root.absolute() / "trackio"))
    return Path(import_module("trackio.utils").TRACKIO_DIR)


@contextmanager
def _loud() -> Iterator[None]:
    """Drop what trackio prints, since tables go there, and fail where it only warns of a loss.

    Raises:
        TrackerError: Whatever trackio raised or warned of.
    """
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(StringIO()):
        warnings.simplefilter("always")
        try:
            yield
        except SsahError:
            raise
        except Exception as error:
            raise TrackerError(f"trackio: {error}") from error
    lost = [str(item.message) for item in caught if "trackio" in str(item.filename)]
    if lost:
        raise TrackerError(f"trackio: {lost[0]}")

"""A run in a tracker while it works, and its record at the end; what fails there stops no run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rich.markup import escape

from ssah_exp.errors import SsahWarning
from ssah_exp.pipeline.opened import Finished
from ssah_exp.records.later_judges import with_later_judges
from ssah_exp.records.mirroring import Mirror
from ssah_exp.records.record import StageRecord
from ssah_exp.records.store import RECORD
from ssah_exp.records.trackers import LiveRun, RunHead, Tracker


class Tracked:
    """One run and its tracker.

    The tracker is told of the run when something is first computed: a run that finds everything in
    the cache has nothing new to show.

    Args:
        tracker: Where the run is shown.
        root: Where runs lie.
        say: Prints a line of rich's markup.
    """

    def __init__(self, tracker: Tracker, root: Path, say: Callable[[str], None]) -> None:
        self._tracker = tracker
        self._root = root
        self._mirror = Mirror(tracker, root)
        self._say = say
        self._head: RunHead | None = None
        self._live: LiveRun | None = None
        self._missed: list[StageRecord] = []
        self._silent = False  # nothing more is shown before the end

    def opened(self, head: RunHead) -> None:
        """The run's id is known."""
        self._head = head

    def working(self) -> None:
        """Something is being computed."""
        head = self._head
        if head is None or self._live is not None or self._silent:
            return
        self._try(lambda: self._begin(head))

    def stage(self, stage: StageRecord) -> None:
        """A stage is done."""
        live = self._live
        if live is None:
            self._missed.append(stage)
        else:
            self._try(lambda: live.stage(stage))

    def finished(self, finished: Finished) -> None:
        """Mirror the record with what later judges said, unless the tracker has it already."""
        record, live = finished.record, self._live
        self._live = None
        try:
            record = with_later_judges(record, finished.folder / RECORD)
            place = self._mirror.send(record, live, say=self._say)
        except Exception as error:  # whatever a tracker raises, the record is safe
            name = self._tracker.key.partition("-")[0]
            _warn(error, f"The record is whole; 'ssah-exp mirror {name} {record.run_id}' sends it.")
            return
        if place is not None:
            self._say(f"mirrored to  {escape(place)}")

    def stopped(self, error: BaseException) -> None:
        """The run ends without a record."""
        live, self._live = self._live, None
        if live is not None:
            self._try(lambda: live.stop(f"stopped: {type(error).__name__}"))

    def _begin(self, head: RunHead) -> None:
        self._live = live = self._tracker.open(head, self._root)
        if live is None:
            self._silent = True
            return
        # What the tracker had of an earlier run of this name may be gone by now.
        self._mirror.forget(head.run_id)
        for stage in self._missed:
            live.stage(stage)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            live, self._live, self._silent = self._live, None, True
            if live is not None:  # else it would stand there as running
                with suppress(Exception):
                    live.stop(f"given up: {type(error).__name__}")
            _warn(error, "The run goes on; its record is sent at its end.")


def _warn(error: Exception, then: str) -> None:
    text = str(error) or type(error).__name__
    warnings.warn(f"The tracker failed: {text.rstrip('.')}. {then}", SsahWarning, stacklevel=3)

"""One job from its frozen config to its state, whatever happens on the way."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from ssah_exp.errors import SsahError, SsahWarning, StoreError, ending_behind
from ssah_exp.owner import Owner
from ssah_exp.pipeline.garbage import imports_stay
from ssah_exp.pipeline.worker import flush_printed
from ssah_exp.records.provenance import now
from ssah_exp.storage import way_to
from ssah_exp.sweeps.code import check_code
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.state import CANCELLED, DONE, FAILED, INTERRUPTED, RUNNING, JobState

SHOWN_EVERY = 2.0  # seconds between two states that differ in a count only


def work(sweep: Sweep, job: Job, check: str | None = None) -> JobState:
    """Run a job unless it is done or cancelled; what goes wrong is in the state that is returned.

    Args:
        sweep: The sweep it belongs to.
        job: The job.
        check: What to do about changed code, see :func:`check_code`; None = do not look at it.

    Raises:
        SystemExit: The process was asked to end; the state says so.
        KeyboardInterrupt: A person ended it; likewise.
    """
    before = job.state()
    if before.status == DONE:
        return before
    if job.cancelled:
        return before.changed(status=CANCELLED)
    running = before.changed(
        status=RUNNING,
        attempts=before.attempts + 1,
        owner=Owner.me(),
        error=None,
        progress="starting",
        started=now(),
    )
    started = time.perf_counter()
    ended = running
    try:
        job.save(running)
        with _into_log(job.log):
            ended = _run(sweep, job, running, check)
    except (StoreError, OSError) as error:  # neither state nor log can be written
        ended = running.changed(status=FAILED, error=_one_line(error))
    except BaseException as error:  # SystemExit, KeyboardInterrupt
        ended = running.changed(status=INTERRUPTED, error=f"ended by {type(error).__name__}")
        raise
    finally:
        ended = ended.changed(seconds=round(time.perf_counter() - started, 3))
        _save(job, ended)
    return ended


def _run(sweep: Sweep, job: Job, running: JobState, check: str | None) -> JobState:
    """Run the job; an ordinary error becomes part of the state that is returned."""
    print(f"--- attempt {running.attempts}, {running.started}, {running.owner}", flush=True)
    try:
        if check is not None:
            change = check_code(sweep.plan()["code"], check)
            if change is not None:
                warnings.warn(f"Going on although {change}.", SsahWarning, stacklevel=2)
        with imports_stay():
            from ssah_exp.pipeline.dispatch import run
            from ssah_exp.records.trackers.sweep import working_on
        with working_on(job.folder):
            finished = run(job.config(), _Progress(job, running))
        record = finished.record
        return running.changed(
            status=DONE,
            progress="",
            run_id=record.run_id,
            artefact=record.artefact,
            folder=way_to(finished.folder, job.folder),
        )
    except Exception as error:
        if (ending := ending_behind(error)) is not None:
            raise ending from error
        if isinstance(error, SsahError):
            print(f"ssah-exp: {error}", file=sys.stderr)
        else:  # a bug, or a library's: the sweep goes on
            traceback.print_exc()
        return running.changed(status=FAILED, error=_one_line(error))


class _Progress:
    """Writes what a run is doing into the job's state, now and then."""

    def __init__(self, job: Job, running: JobState) -> None:
        self._job = job
        self._running = running
        self._last = float("-inf")
        self._label = ""

    def __call__(self, text: str) -> None:
        """Show ``text``, unless only its count (``12/64``) has changed since a moment ago."""
        label = re.sub(r" \d+/\d+$", "", text)
        if label != self._label or time.monotonic() - self._last >= SHOWN_EVERY:
            self._label, self._last = label, time.monotonic()
            _save(self._job, self._running.changed(progress=text))


def _save(job: Job, state: JobState) -> None:
    """Save if possible: a state that cannot be written must not end a run whose results can."""
    with suppress(StoreError, OSError):
        job.save(state)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = "; ".join(lines) or type(error).__name__
    return message if isinstance(error, SsahError) else f"{type(error).__name__}: {message}"


@contextmanager
def _into_log(path: Path) -> Iterator[None]:
    """Send all that is printed, even by processes that the job starts, to the job's log."""
    with (
        path.open("a", encoding="utf-8", buffering=1) as log,
        _descriptors_into(log.fileno()),
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        yield


@contextmanager
def _descriptors_into(log: int) -> Iterator[None]:
    """Point standard output and standard error, which processes inherit, to another file."""
    flush_printed()  # what was printed before does not belong in the log
    kept: dict[int, int] = {}
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        # If a stream was closed before Python started, any file may have its number by now.
        if stream is not None:
            with suppress(OSError):  # closed since: processes inherit nothing
                kept[number] = os.dup(number)
    try:
        for number in kept:
            os.dup2(log, number)
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)

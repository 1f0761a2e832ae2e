"""What became of each job: what it says of itself, checked against what its keeper knows.

The keeper is the process that runs the sweep, or Slurm.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssah_exp.errors import ClusterError
from ssah_exp.lock import seems_held
from ssah_exp.records.store import RECORD
from ssah_exp.sweeps import controller
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import TICKET, Job, printed_under_slurm
from ssah_exp.sweeps.state import (
    CANCELLED,
    DONE,
    FAILED,
    INTERRUPTED,
    MISSING,
    QUEUED,
    RUNNING,
    STATUSES,
    JobState,
)

_OPEN = (QUEUED, RUNNING, INTERRUPTED)
_DAMAGED = "its frozen config is damaged"
_TICKET_LOST = (
    f"{TICKET} in its folder is damaged, so Slurm cannot be asked about it; delete that file once "
    "squeue does not list it"
)


@dataclass(frozen=True)
class JobStanding:
    """A job and how it stands.

    Attributes:
        job: The job.
        state: What it said last.
        status: One of ``STATUSES``: the judgement.
        detail: Progress, reason or error, one line.
    """

    job: Job
    state: JobState
    status: str
    detail: str


@dataclass(frozen=True)
class SweepStatus:
    """All jobs of a sweep.

    Attributes:
        sweep: The sweep.
        standings: Every job's, by number.
        note: What makes the judgement less sure, above all that jobs are lacking; None = nothing.
    """

    sweep: Sweep
    standings: list[JobStanding]
    note: str | None = None

    def counts(self) -> dict[str, int]:
        """Status -> number of jobs, in the order of ``STATUSES``, for every status that occurs."""
        found = Counter(item.status for item in self.standings)
        return {status: found[status] for status in STATUSES if found[status]}

    def of(self, *statuses: str) -> list[Job]:
        """The jobs of some statuses."""
        return [item.job for item in self.standings if item.status in statuses]


def status_of(sweep: Sweep) -> SweepStatus:
    """Judge every job without changing any; see also :func:`ssah_exp.lock.seems_held`.

    Raises:
        StoreError: The sweep's files cannot be read.
    """
    under_slurm = sweep.plan()["launcher"] == "slurm"
    status = _under_slurm(sweep) if under_slurm else _under_ourselves(sweep)
    notes = (
        sweep.cut_short(len(status.standings)),
        sweep.uncounted(),
        sweep.from_the_future(),
        status.note,
    )
    return replace(status, note=" ".join(filter(None, notes)) or None)


def _under_ourselves(sweep: Sweep) -> SweepStatus:
    """Judge jobs of ``batch`` and ``local``: a process of ours runs them, or nobody does."""
    running = seems_held(sweep.lock)
    standings = []
    for job in sweep.jobs():
        state = job.state()
        status, detail = _said(job, state)
        if status in _OPEN and not running:
            status, detail = _left(job, state, "the process that ran the sweep is gone")
        standings.append(_standing(job, state, status, detail))
    return SweepStatus(sweep, standings)


def _standing(job: Job, state: JobState, status: str, detail: str) -> JobStanding:
    """A job as it was judged; one that cannot be run any more has failed.

    What has done its work, or is in its keeper's hands and could be cancelled, stays that.
    """
    if job.damaged:
        if status in (DONE, RUNNING, QUEUED):
            detail = "; ".join(filter(None, (detail, _DAMAGED)))
        else:
            status, detail = FAILED, _DAMAGED
    return JobStanding(job, state, status, detail)


def record_of(job: Job, state: JobState) -> Path | None:
    """The record that a job's state names; None if it is not there.

    Earlier versions gave its place by names alone, even where ``sweeps`` is a link.
    """
    if state.folder is None:
        return None
    place = job.folder / state.folder
    tried = (place / RECORD, Path(os.path.normpath(place)) / RECORD)
    return next((path for path in tried if path.is_file()), None)


def _said(job: Job, state: JobState) -> tuple[str, str]:
    """Status and detail as the job itself tells them."""
    if state.status == DONE:
        if state.folder is None:  # an earlier version did not ask a run's several processes for it
            return MISSING, "it does not say where its record lies"
        if record_of(job, state) is None:
            return MISSING, f"the record of run {state.run_id} is gone"
        return DONE, f"run {state.run_id}"
    if job.cancelled and state.status == RUNNING:
        return RUNNING, f"asked to end; {state.progress}".removesuffix("; ")
    if job.cancelled:
        return CANCELLED, "as asked"
    return state.status, state.error or state.progress


def _left(
    job: Job, state: JobState, why: str, printed: Sequence[Path] = (), *, began: bool = False
) -> tuple[str, str]:
    """Status and detail of an open job that nobody runs.

    Args:
        job: The job.
        state: What it said last.
        why: What is known of its end.
        printed: Files of what it printed outside of its log.
        began: Whether its keeper had started it.
    """
    if job.cancelled:
        return CANCELLED, "as asked"
    if state.status == QUEUED and not began:
        return MISSING, f"never started: {why}"
    if state.status == INTERRUPTED:
        return INTERRUPTED, f"{state.error or 'ended early'}; {why}"
    last = _last_words(job, state, printed)
    return FAILED, f"its process died: {why}" + (f"; last line: {last}" if last else "")


def _under_slurm(sweep: Sweep) -> SweepStatus:
    jobs = sweep.jobs()
    tickets = {job.number: job.ticket() for job in jobs}
    try:
        queue = controller.queue_of(sweep, jobs)
    except ClusterError as error:
        note = f"{error} Below stands what the jobs said of themselves."
        said = [(job, job.state()) for job in jobs]
        return SweepStatus(
            sweep, [_standing(job, state, *_said(job, state)) for job, state in said], note
        )
    # Read after the queue: a job that left it in between has said how it ended.
    states = {job.number: job.state() for job in jobs}
    gone = [
        ticket
        for number, ticket in tickets.items()
        if ticket and ticket not in queue and states[number].status in _OPEN
    ]
    # One look at the folder, however many are gone: it holds three files a job.
    printed = printed_under_slurm(sweep.folder) if gone else {}
    known = _Known(queue, controller.ended(gone, controller.job_name(sweep)), printed)
    standings = []
    for job in jobs:
        state, ticket = states[job.number], tickets[job.number]
        standings.append(_standing(job, state, *_seen_by_slurm(job, state, ticket, known)))
    return SweepStatus(sweep, standings)


@dataclass(frozen=True)
class _Known:
    """What Slurm and its files say, by Slurm's number of a job.

    Attributes:
        queue: State and reason of each job that is there.
        ends: How others ended.
        printed: What they printed outside of their logs.
    """

    queue: dict[str, tuple[str, str]]
    ends: dict[str, str]
    printed: dict[str, list[Path]]


def _seen_by_slurm(
    job: Job,
    state: JobState,
    ticket: str | None,
    known: _Known,
) -> tuple[str, str]:
    """Status and detail of a job that was to go to Slurm."""
    status, detail = _said(job, state)
    if status not in _OPEN:
        return status, detail
    if ticket is None and job.ticket_lost:  # run again, it might run twice
        detail = "; ".join(filter(None, (detail, _TICKET_LOST)))
        return RUNNING if status == RUNNING else QUEUED, detail
    if ticket is None:
        return MISSING, "Slurm was never given it"
    if ticket in known.queue:
        slurm_state, reason = known.queue[ticket]
        if slurm_state == "RUNNING":
            return (RUNNING, detail) if status == RUNNING else (QUEUED, "starting")
        stuck = "; it will not start like this" if controller.waits_for_ever(reason) else ""
        return QUEUED, f"{slurm_state.lower()}: {reason}{stuck}"
    end = known.ends.get(ticket)
    # The queue may hide a colleague's job from me.
    if end in controller.LIVING and job.submitted_by() != os.getuid():
        runs = status == RUNNING and end == "RUNNING"
        return RUNNING if runs else QUEUED, f"Slurm says {end}"
    if end is not None and end.startswith("CANCELLED"):
        return CANCELLED, "by Slurm or its users"
    why = f"Slurm says {end}" if end else "Slurm knows nothing of it any more"
    # With a full disk a job cannot even say that it runs; one that Slurm saw end did run, and so
    # did one that left output there.
    printed = known.printed.get(ticket, [])
    return _left(job, state, why, printed, began=end is not None or bool(printed))


def _last_words(job: Job, state: JobState, printed: Sequence[Path]) -> str:
    """The last line that a dead job printed; empty if there is none."""
    files = [*printed, job.log]
    if state.status == QUEUED:  # it died before it began: its log is of an earlier attempt
        files.pop()
    return next(filter(None, map(last_line, reversed(files))), "")


def last_line(path: Path) -> str:
    """The last line of a file that is not blank; empty if there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - 4096))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""

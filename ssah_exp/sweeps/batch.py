"""All jobs of a sweep in this process, one after the other: Python and its libraries start once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import chdir

from ssah_exp.lock import held
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job, differences
from ssah_exp.sweeps.state import JobState
from ssah_exp.sweeps.worker import work


def run_here(
    sweep: Sweep,
    jobs: Sequence[Job],
    say: Callable[[str], None],
    check: str | None = None,
    begin: Callable[[], None] = lambda: None,
) -> list[JobState]:
    """Run jobs one by one; one that fails does not stop the others.

    Args:
        sweep: Their sweep; no two processes run it at once.
        jobs: In order.
        say: Gets a line per job.
        check: See :func:`ssah_exp.sweeps.worker.work`.
        begin: Called once this process holds the sweep.

    Raises:
        KeyboardInterrupt: A person ended it; ``ssah-exp retry-failed`` runs what is left.
        SystemExit: The process was asked to end; likewise.
    """
    states: list[JobState] = []
    told_apart = differences(sweep.jobs())
    with held(sweep.lock, f"sweep {sweep.name}", say), chdir(sweep.place(say)):
        begin()
        for place, job in enumerate(jobs, start=1):
            started = time.perf_counter()
            state = work(sweep, job, check)
            seconds = time.perf_counter() - started
            say(line_of(f"{place}/{len(jobs)}", job, state, seconds, told_apart[job.number]))
            states.append(state)
    return states


def line_of(place: str, job: Job, state: JobState, seconds: float, told_apart: str) -> str:
    """How a job ended, for the person who launched the sweep.

    Args:
        place: E.g. ``3/14``.
        job: The job.
        state: Its state.
        seconds: How long it took.
        told_apart: The overrides that set it apart from the other jobs.
    """
    what = state.error or (f"run {state.run_id}" if state.run_id else "")
    return f"[{place}] job {job.number}  {state.status:<9} {seconds:7.1f} s  {told_apart}  {what}"

"""All jobs of a sweep in this process, one after the other: Python and its libraries start once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ssah_exp.lock import held
from ssah_exp.sweeps.folder import Job, Sweep, differences
from ssah_exp.sweeps.state import JobState
from ssah_exp.sweeps.worker import work


def run_here(
    sweep: Sweep, jobs: Sequence[Job], say: Callable[[str], None], check: str | None = None
) -> list[JobState]:
    """Run jobs one by one; one that fails does not stop the others.

    Args:
        sweep: Their sweep; no two processes run it at once.
        jobs: In order.
        say: Gets a line per job.
        check: See :func:`ssah_exp.sweeps.worker.work`.

    Raises:
        KeyboardInterrupt: The jobs that are left can be run by ``ssah-exp retry-failed``.
        SystemExit: The same.
    """
    states: list[JobState] = []
    told_apart = differences(jobs)
    with held(sweep.lock, f"sweep {sweep.name}", say):
        for place, job in enumerate(jobs, start=1):
            started = time.perf_counter()
            state = work(sweep, job, check)
            seconds = time.perf_counter() - started
            what = state.error or (f"run {state.run_id}" if state.run_id else "")
            say(
                f"[{place}/{len(jobs)}] job {job.number}  {state.status:<9} {seconds:7.1f} s  "
                f"{told_apart[job.number]}  {what}"
            )
            states.append(state)
    return states

"""Lines for a person: how a sweep stands, and what to do next."""

from __future__ import annotations

from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import differences
from ssah_exp.sweeps.launching import tell
from ssah_exp.sweeps.state import FAILED, INTERRUPTED, MISSING, UNFINISHED, JobState
from ssah_exp.sweeps.status import SweepStatus, status_of


def end_of(sweep: Sweep) -> int:
    """Say how a sweep that was just launched stands; 1 = some of its jobs did not get done.

    Cancelled jobs do not count, since somebody asked for that. Under Slurm only failed ones do:
    what Slurm was given a moment ago may not be in its queue yet.
    """
    status = status_of(sweep)
    failed = [item for item in status.standings if item.status in UNFINISHED]
    for line in lines(status, *UNFINISHED):
        tell(line)
    tell(summary(status))
    slurm = sweep.plan()["launcher"] == "slurm"
    if slurm:
        tell(f"look at it: ssah-exp status {sweep.given_as}")
    if failed:
        tell(f"read why: ssah-exp logs {failed[0].job.number} --sweep {sweep.given_as}")
        if not all(item.job.damaged for item in failed):
            tell(f"go on: ssah-exp retry-failed {sweep.given_as}")
    lost = (FAILED,) if slurm else (FAILED, INTERRUPTED, MISSING)
    return int(any(item.status in lost for item in failed))


def summary(status: SweepStatus) -> str:
    """One line: ``sweep NAME: 64 jobs, 62 done, 2 failed``."""
    counts = ", ".join(f"{count} {name}" for name, count in status.counts().items())
    return f"sweep {status.sweep.name}: {len(status.standings)} jobs, {counts or 'none'}"


def lines(status: SweepStatus, *statuses: str) -> list[str]:
    """One line per job (of some statuses, if given): number, status, attempts, overrides, detail.

    Overrides that all jobs share are left out.
    """
    told_apart = differences([item.job for item in status.standings])
    width = max(map(len, told_apart.values()), default=0)
    return [
        f"{item.job.number:>4}  {item.status:<11} {_times(item.state):<4} "
        f"{told_apart[item.job.number]:<{width}}  {item.detail}".rstrip()
        for item in status.standings
        if not statuses or item.status in statuses
    ]


def _times(state: JobState) -> str:
    return f"x{state.attempts}" if state.attempts > 1 else ""

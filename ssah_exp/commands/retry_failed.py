"""`ssah-exp retry-failed`: run again what did not get done, from the frozen configs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from ssah_exp.config.paths import root_of
from ssah_exp.errors import ClusterError, StoreError
from ssah_exp.lock import held
from ssah_exp.sweeps import controller
from ssah_exp.sweeps.batch import run_here
from ssah_exp.sweeps.code import check_code
from ssah_exp.sweeps.finding import find_sweep
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.launching import tell
from ssah_exp.sweeps.local import LocalOptions, run_at_once
from ssah_exp.sweeps.report import end_of
from ssah_exp.sweeps.retuned import checked_launcher, retuned
from ssah_exp.sweeps.slurm import SlurmOptions, submit
from ssah_exp.sweeps.state import QUEUED, UNFINISHED, JobState
from ssah_exp.sweeps.status import SweepStatus, status_of

# A job, what it said of itself, whether it was cancelled.
Seen: TypeAlias = tuple[Job, JobState, bool]


def execute(options: argparse.Namespace) -> int:
    """Queue or run unfinished jobs as the sweep's launcher did; 1 = some failed or cannot run.

    Raises:
        StoreError: There is no such sweep or a name is needed, not all of its jobs were written
            down, or the code changed.
        ConfigError: The launcher's options do not fit this machine or the jobs.
        ClusterError: The scheduler did not take the jobs.
    """
    sweep = find_sweep(root_of(options.root), options.sweep, to_change=True)
    jobs, damaged = _unfinished(sweep)
    seen = _as_they_are(jobs)
    for job in damaged:
        tell(f"job {job.number} is left out, its frozen config is damaged: {job.folder}")
    if not jobs:
        unkept = "; what --set gives is not kept" if options.set else ""
        tell(f"sweep {sweep.name}: nothing to run again{unkept}")
        return int(bool(damaged))
    plan = sweep.plan()
    given = retuned(plan["options"], options.set)
    launched = checked_launcher(plan["launcher"], given, jobs)
    asked = "refuse" if launched is None else launched.code
    check = "warn" if options.take_code else asked
    change = check_code(plan["code"], check)
    if change is not None:
        tell(f"Going on although {change}.")
    begin = partial(_requeue, sweep, seen, given if options.set else None)
    _dispatch(sweep, jobs, launched, check, begin)
    return end_of(sweep)


def _unfinished(sweep: Sweep) -> tuple[list[Job], list[Job]]:
    """:func:`_to_run` of a sweep that was written down whole, or as far as can be told.

    Raises:
        StoreError: Not all of its jobs were written down.
    """
    status = status_of(sweep)
    if (lacking := sweep.cut_short(len(status.standings))) is not None:
        raise StoreError(lacking)
    if (unsure := sweep.uncounted()) is not None:
        tell(f"Going on with the jobs that are there: {unsure}")
    return _to_run(status)


def _as_they_are(jobs: Sequence[Job]) -> list[Seen]:
    return [(job, job.state(), job.cancelled) for job in jobs]


def _requeue(sweep: Sweep, seen: Sequence[Seen], given: dict[str, Any] | None) -> None:
    """Queue jobs, once this process holds the sweep; until then all stays as it is.

    Args:
        sweep: Theirs.
        seen: The jobs to run again, as they were when that was decided.
        given: The launcher's options from now on; None = as they were.

    Raises:
        StoreError: Another process ran or cancelled some of them meanwhile.
    """
    if _as_they_are([job for job, *_ in seen]) != list(seen):
        raise StoreError(
            f"The jobs of sweep {sweep.name} changed while this process waited for it; nothing was "
            "done. Run the command again for what is left."
        )
    if given is not None:
        sweep.keep_options(given)
    for job, *_ in seen:
        _queue(job)
    tell(f"sweep {sweep.name}: {len(seen)} jobs again")


def _dispatch(
    sweep: Sweep,
    jobs: Sequence[Job],
    launched: SlurmOptions | LocalOptions | None,
    check: str,
    begin: Callable[[], None],
) -> None:
    """Run the jobs here or have Slurm run them, after ``begin``."""
    if isinstance(launched, SlurmOptions):
        _submit(sweep, jobs, replace(launched, code=check), begin)
    elif isinstance(launched, LocalOptions):
        run_at_once(sweep, jobs, launched, tell, check, begin)
    else:
        run_here(sweep, jobs, tell, check, begin)


def _submit(
    sweep: Sweep, jobs: Sequence[Job], launched: SlurmOptions, begin: Callable[[], None]
) -> None:
    with held(sweep.lock, f"sweep {sweep.name}", tell):
        if _to_run(status_of(sweep))[0] != jobs:
            raise StoreError(f"Another process has just queued jobs of sweep {sweep.name}.")
        controller.take_back(sweep, jobs)  # else they would run twice
        with _as_before_unless_taken(jobs):
            begin()  # first: a job may start at once and write its state
            array = submit(sweep, jobs, launched)
    controller.take_back(sweep, jobs)
    tell(f"{len(jobs)} jobs are Slurm's array {array}; this terminal may be closed")


def _to_run(status: SweepStatus) -> tuple[list[Job], list[Job]]:
    """The jobs to run again, and those that would be if their frozen configs were whole."""
    unfinished = [(job, job.damaged) for job in status.of(*UNFINISHED)]
    return [job for job, lost in unfinished if not lost], [job for job, lost in unfinished if lost]


@contextmanager
def _as_before_unless_taken(jobs: Sequence[Job]) -> Iterator[None]:
    """Put back what jobs said last, above all why they failed, if the scheduler refuses them.

    Of several arrays it may have taken the first: those jobs have other numbers now.
    """
    before = [(*seen, seen[0].ticket()) for seen in _as_they_are(jobs)]
    try:
        yield
    except ClusterError:
        for job, state, cancelled, ticket in before:
            if job.ticket() == ticket:
                job.save(state)
                job.cancel(cancelled)
        raise


def _queue(job: Job) -> None:
    """Set a job back to queued, without cancellation and error; the rest of its state stays."""
    job.cancel(False)
    job.save(job.state().changed(status=QUEUED, error=None, progress=""))

"""`ssah-exp cancel`: end the queued and running jobs of a sweep."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

from ssah_exp.config.paths import root_of
from ssah_exp.lock import owner_of
from ssah_exp.sweeps import controller
from ssah_exp.sweeps.finding import find_sweep
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.launching import tell
from ssah_exp.sweeps.state import CANCELLED, INTERRUPTED, MISSING, QUEUED, RUNNING
from ssah_exp.sweeps.status import status_of


def execute(options: argparse.Namespace) -> int:
    """Mark the jobs as cancelled, then end them; finished ones stay.

    While jobs are being written down, the launch marks those of the same batch that it writes after
    the first; a note says that some are lacking.

    Raises:
        StoreError: There is no such sweep, or a name is needed.
        ClusterError: The scheduler does not answer. The jobs are marked: those that wait end on
            their own when they start; for those that run, give the command again.
    """
    sweep = find_sweep(root_of(options.root), options.sweep, to_change=True)
    status = status_of(sweep)
    # Nobody has the jobs of a launch in hand yet, from the first that is written down to the last.
    coming = [
        item.job
        for item in status.standings
        if item.status == MISSING and item.state.status == QUEUED
    ]
    open_ones = [*status.of(QUEUED, RUNNING, INTERRUPTED), *coming]
    jobs = [job for job in open_ones if not job.cancelled]
    for job in jobs:
        job.cancel()
    # Interrupted jobs are not in the queue, and scancel fails for numbers that Slurm has forgotten.
    waiting = status.of(QUEUED, RUNNING)
    tickets = [ticket for job in waiting if (ticket := job.ticket()) is not None]
    # Those that were cancelled by a command that met no Slurm.
    tickets += controller.still_there(sweep, status.of(CANCELLED))
    for job in waiting:
        if job.ticket_lost:
            tell(f"job {job.number}: Slurm's number for it cannot be read; end it with scancel")
    controller.cancel(tickets)
    # Also for jobs marked before, perhaps where their process was out of reach. Under Slurm it is
    # sbatch that a process waits for.
    if (jobs or status.of(RUNNING)) and sweep.plan()["launcher"] != "slurm":
        _interrupt(sweep)
    tell(f"sweep {sweep.name}: {len(jobs)} jobs cancelled")
    if status.note:
        tell(f"note: {status.note}")
    return 0


def _interrupt(sweep: Sweep) -> None:
    """Do what Ctrl+C would do in the process that runs the sweep."""
    owner = owner_of(sweep.lock)
    if owner is None:
        return
    lives = owner.lives()
    if lives:
        try:
            os.kill(owner.pid, signal.SIGTERM if _ignores_ctrl_c(owner.pid) else signal.SIGINT)
        except ProcessLookupError:  # it ended meanwhile
            return
        except PermissionError:
            lives = None
    if lives is None:
        tell(f"{owner} cannot be reached from here; it ends after the job it is at")


def _ignores_ctrl_c(pid: int) -> bool:
    """Whether it ignores Ctrl+C, as Python does if a script's shell started it with ``&``."""
    try:
        said = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:  # no Linux, or gone by now
        return False
    ignored = next(line for line in said.splitlines() if line.startswith("SigIgn:"))
    return bool(int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1)

"""What a Slurm job does: run one job of a sweep; save, end and be queued again when told to.

Slurm sends USR2 some time before the time limit (``--signal``), and, if the cluster is set up so,
before a job of higher priority takes the node. USR2 becomes a TERM to ourselves: Lightning ends a
training between two steps with a checkpoint, anything else ends at once, and the job asks to be
queued again. A TERM from outside does the same but asks for nothing: Slurm knows what it wants.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ssah_exp.errors import StoreError, plain_warnings
from ssah_exp.sweeps.ending import listening
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.state import DONE, FAILED
from ssah_exp.sweeps.worker import work


@dataclass
class SlurmWorker:
    """Pickled at submission: a folder, numbers and two options; everything else is on disk.

    Attributes:
        folder: The sweep's folder.
        number: The job's number.
        check: See :func:`ssah_exp.sweeps.worker.work`.
        requeues: How often the job may be queued again because its time ran out.
        before: Timeouts before this submission, which do not count towards ``requeues``.
    """

    folder: str
    number: int
    check: str
    requeues: int
    before: int = 0

    def __call__(self) -> str:
        """Run the job; return its status.

        Raises:
            SystemExit: 1 if it failed, 143 if it was told to end.
        """
        sweep = Sweep(Path(self.folder))
        job = sweep.job(self.number)
        os.chdir(sweep.place(lambda line: print(line, flush=True)))
        with plain_warnings(), listening() as told:
            try:
                state = work(sweep, job, self.check)
            except SystemExit:
                if told.time_is_up:
                    self._queue_again(job)
                raise
        if state.status != DONE:
            raise SystemExit(1)
        return state.status

    def _queue_again(self, job: Job) -> None:
        state = job.state()
        state = state.changed(timeouts=state.timeouts + 1)
        times = state.timeouts - self.before
        if times > self.requeues:
            more = "retry-failed --set hydra.launcher.minutes=MORE"
            reason = f"its time ran out {times} times; give it more with: {more}"
            job.save(state.changed(status=FAILED, error=reason))
            return
        with suppress(StoreError):  # a full disk must not keep it from the queue
            job.save(state)
        number = os.environ["SLURM_JOB_ID"]
        subprocess.run(  # noqa: S603 - fixed arguments
            ["scontrol", "requeue", number],  # noqa: S607 - Slurm from the PATH
            check=False,
            timeout=60,
        )

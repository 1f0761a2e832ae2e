"""What a worker on this machine does: job after job, until none comes or it is told to end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path


def serve(
    connection: Connection, folder: str, check: str | None, environment: Mapping[str, str]
) -> None:
    """Run every job whose number arrives; send back how it ended, as its state has it.

    A full disk may keep the state from its file, and would keep the reason with it.

    A TERM, or the end of the process that hands out jobs, ends the worker as Slurm would: a
    training saves a checkpoint between two steps, anything else ends at once.

    Args:
        connection: Brings numbers; closed when no job is left.
        folder: The sweep's folder.
        check: See :func:`ssah_exp.sweeps.worker.work`.
        environment: Variables for threads and devices; set before any library looks at them.

    Raises:
        SystemExit: The worker was told to end.
    """
    os.environ.update(environment)
    # Ctrl+C reaches every process of a terminal: the one that hands out jobs decides for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    from ssah_exp.errors import plain_warnings
    from ssah_exp.sweeps.ending import listening
    from ssah_exp.sweeps.folder import Sweep
    from ssah_exp.sweeps.worker import work

    sweep = Sweep(Path(folder))
    os.chdir(sweep.place(lambda line: None))  # the process that hands out jobs tells of it
    with plain_warnings(), listening():
        threading.Thread(target=_end_with_parent, daemon=True).start()
        while True:
            try:
                number = connection.recv()
            except EOFError:
                return
            state = work(sweep, sweep.job(number), check)
            try:
                connection.send(state.to_json())
            except OSError:  # nobody waits for it any more; the job's state is written
                return


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)

"""Several jobs of a sweep at once on this machine, in processes that live while jobs are left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait

from ssah_exp.config.ranges import at_least, choice, refuse
from ssah_exp.cores import usable_cores
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.lock import held
from ssah_exp.sweeps.batch import line_of
from ssah_exp.sweeps.code import CHECKS
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job, differences
from ssah_exp.sweeps.local_worker import serve
from ssah_exp.sweeps.state import CANCELLED, FAILED, QUEUED, RUNNING, JobState

SECONDS_TO_END = 300  # a worker that is told to end writes a checkpoint first


@dataclass(frozen=True)
class LocalOptions:
    """How the jobs of a sweep share this machine.

    Attributes:
        workers: Processes; null = as many as there are GPUs for, with ``gpus`` each.
        gpus: GPUs of a worker, seen by no other; 0 = it sees none; null = 1 where there are any.
        threads: Processor threads of a worker; null = the cores divided by the workers.
        code: What a worker does if the code changed since submission: ``refuse`` or ``warn``.
    """

    workers: int | None = None
    gpus: int | None = None
    threads: int | None = None
    code: str = "refuse"

    def __post_init__(self) -> None:
        """Refuse what no machine could do.

        Raises:
            ConfigError: Lists every problem.
        """
        where = "hydra.launcher"
        problems = [
            *at_least(f"{where}.workers", self.workers, 1),
            *at_least(f"{where}.gpus", self.gpus, 0),
            *at_least(f"{where}.threads", self.threads, 1),
            *choice(f"{where}.code", self.code, CHECKS),
        ]
        refuse(problems)


def places(options: LocalOptions, devices: Sequence[str], cores: int) -> list[dict[str, str]]:
    """The environment variables of every worker.

    Args:
        options: What was asked for.
        devices: The GPUs this process may use, as ``CUDA_VISIBLE_DEVICES`` names them.
        cores: Processor cores it may use.

    Raises:
        ConfigError: Workers need more GPUs than there are, or need none and have no number given.
    """
    gpus = min(1, len(devices)) if options.gpus is None else options.gpus
    if options.workers is None and gpus == 0:
        raise ConfigError(
            "hydra.launcher.workers is needed where workers get no GPU; say how many jobs may run "
            "at once, e.g. hydra.launcher.workers=2."
        )
    workers = max(1, len(devices) // gpus) if options.workers is None else options.workers
    if workers * gpus > len(devices):
        raise ConfigError(
            f"hydra.launcher.workers={workers} and gpus={gpus} need {workers * gpus} GPUs; here "
            f"are {len(devices)}."
        )
    threads = str(options.threads or max(1, cores // workers))
    return [
        {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            **({"CUDA_VISIBLE_DEVICES": _share(devices, place, gpus)} if devices else {}),
        }
        for place in range(workers)
    ]


def here(options: LocalOptions) -> list[dict[str, str]]:
    """:func:`places` on this machine.

    Raises:
        ConfigError: It is too small for ``options``.
    """
    return places(options, _devices(), usable_cores())


def run_at_once(
    sweep: Sweep,
    jobs: Sequence[Job],
    options: LocalOptions,
    say: Callable[[str], None],
    check: str | None = None,
    begin: Callable[[], None] = lambda: None,
) -> list[JobState]:
    """Run jobs side by side; one that fails, or takes its worker with it, does not stop the others.

    Args:
        sweep: Their sweep; no two processes run it at once.
        jobs: Handed out in this order.
        options: How they share the machine.
        say: Gets a line per job.
        check: See :func:`ssah_exp.sweeps.worker.work`.
        begin: Called once this process holds the sweep.

    Returns:
        The states, in the order of ``jobs``.

    Raises:
        ConfigError: See :func:`here`.
        KeyboardInterrupt: A person ended it; workers saved, and ``ssah-exp retry-failed`` goes on.
        SystemExit: The process was asked to end; likewise.
    """
    environments = here(options)
    with held(sweep.lock, f"sweep {sweep.name}", say):
        sweep.place(say)  # if it is gone, says so once, not once per worker
        begin()
        crew = _Crew(sweep, jobs, say, check)
        try:
            crew.work(environments)
        finally:
            crew.dismiss()
    return [job.state() for job in jobs]


class _Worker:
    """One process and the job it works on."""

    def __init__(self, folder: str, check: str | None, environment: dict[str, str]) -> None:
        self.environment = environment
        self.connection, theirs = get_context("spawn").Pipe()
        # Not a daemon: a run may start processes of its own.
        self.process = get_context("spawn").Process(
            target=serve, args=(theirs, folder, check, environment)
        )
        self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.since = 0.0

    def give(self, job: Job) -> bool:
        """Have it run a job; False = its process is gone."""
        self.job, self.since = job, time.perf_counter()
        try:
            self.connection.send(job.number)
        except OSError:
            return False
        return True

    def finished(self) -> JobState | None:
        """How what it was given ended; None = its process is gone."""
        try:
            return JobState.from_json(self.connection.recv())
        except (EOFError, OSError):
            self.process.join()
            return None


class _Crew:
    """The workers, and what is left for them to do."""

    def __init__(
        self, sweep: Sweep, jobs: Sequence[Job], say: Callable[[str], None], check: str | None
    ) -> None:
        self._sweep = sweep
        self._left = list(jobs)
        self._count = len(jobs)
        self._ended = 0
        self._say = say
        self._check = check
        self._told_apart = differences(sweep.jobs())
        self._busy: list[_Worker] = []

    def work(self, environments: Sequence[dict[str, str]]) -> None:
        """Have jobs run until none is left."""
        for environment in environments[: len(self._left)]:
            self._employ(environment)
        while self._busy:
            ready = wait([worker.connection for worker in self._busy])
            for worker in [worker for worker in self._busy if worker.connection in ready]:
                self._go_on_with(worker)

    def dismiss(self) -> None:
        """Ask those who still work to save and end, and see to it that they do."""
        for worker in self._busy:
            worker.process.terminate()
            # A library may swallow what TERM raises. The job is then done in full, and the worker
            # would wait for another.
            worker.connection.close()
        until = time.monotonic() + SECONDS_TO_END
        for worker in self._busy:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._busy.clear()

    def _employ(self, environment: dict[str, str]) -> None:
        worker = _Worker(str(self._sweep.folder), self._check, environment)
        self._busy.append(worker)
        # If Python did not even start, the job counts as ended: another worker would do no better.
        worker.give(self._left.pop(0))

    def _go_on_with(self, worker: _Worker) -> None:
        said = worker.finished()
        self._report(worker, said)
        if said is not None and self._left and worker.give(self._left[0]):
            self._left.pop(0)
            return
        worker.connection.close()  # an idle one ends by itself
        worker.process.join()
        self._busy.remove(worker)
        if self._left:
            self._employ(worker.environment)

    def _report(self, worker: _Worker, said: JobState | None) -> None:
        job = worker.job
        assert job is not None
        state = _died(job, worker.process.exitcode) if said is None else _unwritten(job, said)
        self._ended += 1
        seconds = time.perf_counter() - worker.since
        place = f"{self._ended}/{self._count}"
        self._say(line_of(place, job, state, seconds, self._told_apart[job.number]))


def _died(job: Job, exit_code: int | None) -> JobState:
    """How a job ended whose process is gone."""
    state = job.state()
    if state.status == QUEUED and job.cancelled:
        return state.changed(status=CANCELLED)
    if state.status in (RUNNING, QUEUED):
        when = "before the job began " if state.status == QUEUED else ""
        reason = f"its process died {when}(exit code {exit_code})"
        state = _unwritten(job, state.changed(status=FAILED, error=reason))
    return state


def _unwritten(job: Job, state: JobState) -> JobState:
    """Write down how a job ended where that is not done; a full disk must not end the others."""
    if state.status != CANCELLED and job.state() != state:
        with suppress(StoreError):
            job.save(state)
    return state


def _share(devices: Sequence[str], place: int, gpus: int) -> str:
    return ",".join(devices[place * gpus : (place + 1) * gpus])


def _devices() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]

"""Giving the jobs of a sweep to Slurm."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from ssah_exp.config.ranges import at_least, choice, refuse
from ssah_exp.config.schema import TrainerConfig
from ssah_exp.errors import ClusterError, StoreError
from ssah_exp.sweeps.code import CHECKS
from ssah_exp.sweeps.controller import job_name, largest_array, need, why
from ssah_exp.sweeps.ending import held_back
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import SLURM, Job
from ssah_exp.sweeps.slurm_worker import SlurmWorker

# Options of sbatch that the launcher decides itself -> its own option for them; None = it has none,
# since a sweep could not be followed, ended or gone on with if it were another.
_TAKEN: dict[str, str | None] = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "time": "minutes",
    "gpus": "gpus",
    "gpus-per-node": "gpus",
    "gpus-per-task": "gpus",
    "cpus-per-task": "cpus",
    "mem": "memory_gb",
    "signal": "signal_seconds",
    "requeue": "requeues",
    "no-requeue": "requeues",
    "array": "parallel",
    **dict.fromkeys(("nodes", "ntasks", "ntasks-per-node", "ntasks-per-gpu")),
    **dict.fromkeys(("output", "error", "open-mode", "job-name", "clusters")),
    # The launcher reads the array's number from what sbatch prints, and does not wait for its end.
    **dict.fromkeys(("parsable", "quiet", "test-only", "wait", "wrap")),
}


@dataclass(frozen=True)
class SlurmOptions:
    """What each job of a sweep asks the cluster for.

    Attributes:
        partition: Partition; null = the cluster's default, here and in the next three.
        account: Account to charge.
        qos: Quality of service.
        constraint: Features of the nodes.
        minutes: Time limit in minutes; a job that reaches it is queued again and goes on.
        gpus: GPUs of a job.
        cpus: Cores of a job.
        memory_gb: Memory of a job in GiB; null = the cluster's default.
        parallel: Jobs of the sweep that may run at once.
        signal_seconds: Seconds before its time limit at which a job is told to save and end.
        requeues: How often a job may be queued again because its time ran out.
        code: What a worker does if the code changed since submission: ``refuse`` or ``warn``.
        setup: Shell lines that go before each job, e.g. ``module load cuda``.
        sbatch: Any other option of sbatch by its long name, with ``-`` or ``_``.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    minutes: int = 240
    gpus: int = 0
    cpus: int = 1
    memory_gb: float | None = None
    parallel: int = 64
    signal_seconds: int = 120
    requeues: int = 20
    code: str = "refuse"
    setup: list[str] = field(default_factory=list)
    sbatch: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no cluster could use.

        Raises:
            ConfigError: Lists every problem.
        """
        where = "hydra.launcher"
        problems = [
            *choice(f"{where}.code", self.code, CHECKS),
            *self._memory(),
            *self._taken(),
            *self._of_several_lines(),
            *at_least(f"{where}.minutes", self.minutes, 1),
            *at_least(f"{where}.gpus", self.gpus, 0),
            *at_least(f"{where}.cpus", self.cpus, 1),
            *at_least(f"{where}.parallel", self.parallel, 1),
            *at_least(f"{where}.requeues", self.requeues, 0),
            *at_least(f"{where}.signal_seconds", self.signal_seconds, 1),
        ]
        if self.signal_seconds >= 60 * self.minutes:
            problems.append(
                f"{where}.signal_seconds={self.signal_seconds} is not below the time limit of "
                f"{self.minutes} minutes."
            )
        refuse(problems)

    def _memory(self) -> Iterable[str]:
        if self.memory_gb is None:
            return
        if not math.isfinite(self.memory_gb):
            yield f"hydra.launcher.memory_gb={self.memory_gb:g} is not finite."
        elif self._megabytes() < 1:  # to Slurm, 0 is all of a node's
            yield f"hydra.launcher.memory_gb={self.memory_gb:g} is below a megabyte."

    def _taken(self) -> Iterable[str]:
        """Complain about options that would silently undo what the launcher sets itself."""
        for given in self.sbatch:
            name = str(given).replace("_", "-")
            # sbatch takes the beginning of a name for the whole of it.
            meant = next((option for option in _TAKEN if option.startswith(name)), None)
            if meant is not None:
                own = _TAKEN[meant]
                instead = "leave it out" if own is None else f"give hydra.launcher.{own}"
                yield f"hydra.launcher.sbatch.{given}: the launcher decides that itself; {instead}."

    def _of_several_lines(self) -> Iterable[str]:
        """Complain about what would end its ``#SBATCH`` line: what follows would run in a shell."""
        given = {key: getattr(self, key) for key in ("partition", "account", "qos", "constraint")}
        given |= {f"sbatch.{name}": value for name, value in self.sbatch.items()}
        for key, value in given.items():
            if not f"{key}={value}".isprintable():
                shown = ascii(f"hydra.launcher.{key}={value}")
                yield f"{shown} holds a line break or another control character; give one line."

    def _megabytes(self) -> int:
        return round(1024 * (self.memory_gb or 0))

    def lacking(self, trainer: TrainerConfig) -> Iterator[str]:
        """What a job asks of its node and these options do not give it."""
        asked = f"trainer.devices={trainer.devices}"
        if trainer.num_nodes > 1:
            yield f"trainer.num_nodes={trainer.num_nodes}: a job of a sweep has one node."
        if trainer.devices > self.cpus:
            yield f"{asked}: hydra.launcher.cpus={self.cpus} gives its processes no core each."
        if self.gpus and trainer.devices > self.gpus:
            yield f"{asked}: hydra.launcher.gpus={self.gpus} gives its processes no GPU each."

    def for_submitit(self) -> dict[str, Any]:
        """The options by the names that ``submitit`` gives them."""
        return {
            "time": self.minutes,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "gpus_per_node": self.gpus or None,
            "cpus_per_task": self.cpus,
            "ntasks_per_node": 1,
            "mem": None if self.memory_gb is None else f"{self._megabytes()}M",
            "array_parallelism": self.parallel,
            "signal_delay_s": self.signal_seconds,
            "stderr_to_stdout": True,
            "setup": list(self.setup) or None,
            # If its node dies or goes to a job of higher priority, Slurm itself queues it again.
            "additional_parameters": {"requeue": True, **self.sbatch},
        }


def require_submitit() -> None:
    """Refuse at once where submitit is missing.

    Raises:
        ClusterError: It is not installed.
    """
    if find_spec("submitit") is None:
        raise ClusterError("submitit is missing: pip install 'ssah-exp[slurm]'")


def submit(sweep: Sweep, jobs: Sequence[Job], options: SlurmOptions) -> str:
    """Hand jobs to Slurm, in as few arrays as it takes; they live on when this process is gone.

    Signals that would end this process wait until Slurm's numbers are written down.

    Returns:
        Slurm's numbers of the arrays, in words.

    Raises:
        ClusterError: There is no Slurm or no submitit, the sweep's folder has a name that no line
            of a script could hold, or Slurm refuses; the jobs that it does not have stay frozen in
            the sweep.
        StoreError: Slurm has the jobs, and their numbers cannot be written down.
    """
    require_submitit()
    try:
        import submitit  # noqa: F401
    except ImportError as error:  # what it needs itself
        raise ClusterError(f"{error.name} is missing: pip install 'ssah-exp[slurm]'") from error
    need("sbatch")
    need("srun")
    if not str(sweep.folder).isprintable():  # it stands in lines of the script
        raise ClusterError(
            f"The sweep's folder {str(sweep.folder)!a} has a line break or another control "
            "character in its name; rename it."
        )
    most = largest_array()
    parts = [jobs[at : at + most] for at in range(0, len(jobs), most)]
    if len(parts) > options.parallel:
        raise ClusterError(
            f"Slurm takes {most} jobs as one array, so that {len(jobs)} jobs are {len(parts)}, "
            f"and no fewer may run at once: hydra.launcher.parallel={options.parallel}. "
            f"{_kept(sweep, f'--set hydra.launcher.parallel={len(parts)}')}"
        )
    arrays: list[str] = []
    for part, parallel in zip(parts, _shares(options.parallel, len(parts)), strict=True):
        with held_back():
            arrays.append(_submit_array(sweep, part, replace(options, parallel=parallel)))
    return " and ".join(arrays)


def _shares(parallel: int, parts: int) -> list[int]:
    """How many jobs of each array may run at once, so that all together are ``parallel``."""
    return [parallel // parts + (at < parallel % parts) for at in range(parts)]


def _submit_array(sweep: Sweep, jobs: Sequence[Job], options: SlurmOptions) -> str:
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    executor = SlurmExecutor(folder=sweep.folder / SLURM)
    executor.update_parameters(job_name=job_name(sweep), **options.for_submitit())
    workers = [
        SlurmWorker(
            str(sweep.folder), job.number, options.code, options.requeues, job.state().timeouts
        )
        for job in jobs
    ]
    try:
        with warnings.catch_warnings(), executor.batch():
            warnings.simplefilter("ignore")
            given = [executor.submit(worker) for worker in workers]
    except FailedJobError as error:
        options_too = "(for other options add --set hydra.launcher.KEY=VALUE)"
        raise ClusterError(
            f"Slurm did not take {len(jobs)} jobs: {why(str(error))}. {_kept(sweep, options_too)}"
        ) from error
    array = str(given[0].job_id).partition("_")[0]
    try:
        for job, ticket in zip(jobs, given, strict=True):
            job.give_ticket(ticket.job_id)
    except StoreError as error:
        raise StoreError(
            f"{error} But first end the jobs, which Slurm has: scancel {array}"
        ) from error
    return array


def _kept(sweep: Sweep, options: str) -> str:
    again = f"ssah-exp retry-failed {sweep.given_as} {options}"
    return f"They are kept in {sweep.folder}; submit them with: {again}"

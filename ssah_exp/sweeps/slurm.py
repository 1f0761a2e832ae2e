"""Giving jobs to Slurm, asking it about them, taking them back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from ssah_exp.config.ranges import at_least, choice, refuse
from ssah_exp.config.schema import TrainerConfig
from ssah_exp.errors import ClusterError, StoreError
from ssah_exp.sweeps.code import CHECKS
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import SLURM, Job
from ssah_exp.sweeps.slurm_worker import SlurmWorker

ANSWER_SECONDS = 60  # a controller under load may take its time

# What Slurm says of a job that it still has.
LIVING = ("PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "COMPLETING", "RESIZING")
_ERROR = re.compile(r"(error|fatal): |unrecognized|ambiguous|invalid", re.IGNORECASE)
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

# Reasons why a job waits that no waiting mends: what it asks for is beyond a limit for one job, or
# not to be had. Limits for all jobs of a user, an account or a QOS together are none of these.
_FOR_EVER = re.compile(
    r"Partition(Time|Node)Limit|BadConstraints|DependencyNeverSatisfied|"
    r"Invalid(Account|QOS)|(Account|QOS)NotAllowed|(Assoc|QOS)Max\w*Per(Job|Node)\w*|QOSMin\w+"
)


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
        if self.memory_gb is not None and self._megabytes() < 1:  # to Slurm, 0 is all of a node's
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
    """Hand jobs to Slurm as one array; they live on when this process is gone.

    Returns:
        Slurm's number of the array.

    Raises:
        ClusterError: There is no Slurm or no submitit, or Slurm refuses; the jobs stay frozen in
            the sweep.
        StoreError: Slurm has the jobs, and their numbers cannot be written down.
    """
    require_submitit()
    try:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError
    except ImportError as error:  # what it needs itself
        raise ClusterError(f"{error.name} is missing: pip install 'ssah-exp[slurm]'") from error
    _need("sbatch")
    _need("srun")
    executor = SlurmExecutor(folder=sweep.folder / SLURM)
    executor.update_parameters(job_name=f"ssah-{sweep.name}", **options.for_submitit())
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
        raise ClusterError(
            f"Slurm did not take the jobs: {_why(str(error))}. They are kept in "
            f"{sweep.folder}; submit them with: ssah-exp retry-failed {sweep.given_as} (for other "
            "options add --set hydra.launcher.KEY=VALUE)"
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


def queue(users: Iterable[int]) -> dict[str, tuple[str, str]]:
    """Jobs that Slurm has in its queue: number -> state and reason.

    Args:
        users: Ids of the users whose jobs to list.

    Raises:
        ClusterError: Slurm is not there or does not answer.
    """
    whose = f"--user={','.join(str(user) for user in sorted(set(users)))}"
    lines = _ask("squeue", "--noheader", "--array", whose, "--format=%i|%T|%r").splitlines()
    rows = (line.split("|") for line in lines if line.count("|") == 2)
    return {number: (state, reason) for number, state, reason in rows}


def queue_of(sweep: Sweep) -> dict[str, tuple[str, str]]:
    """:func:`queue`, of whoever may have submitted a sweep: the owner of its folder, or me.

    Raises:
        ClusterError: Slurm is not there or does not answer.
    """
    return queue((sweep.folder.stat().st_uid, os.getuid()))


def still_there(sweep: Sweep, jobs: Iterable[Job]) -> list[str]:
    """Slurm's numbers of those jobs that it has in its queue, cancelled or not.

    Raises:
        ClusterError: Slurm is not there or does not answer.
    """
    tickets = [ticket for job in jobs if (ticket := job.ticket()) is not None]
    known = queue_of(sweep) if tickets else {}
    return [ticket for ticket in tickets if ticket in known]


def take_back(sweep: Sweep, jobs: Iterable[Job]) -> int:
    """End those of the jobs that were cancelled and that Slurm has all the same.

    They were cancelled while sbatch had them, or where Slurm did not answer.

    Returns:
        How many of the jobs were cancelled.

    Raises:
        ClusterError: Slurm is not there or does not answer.
    """
    late = [job for job in jobs if job.cancelled]
    if late:
        cancel(still_there(sweep, late))
    return len(late)


def waits_for_ever(reason: str) -> bool:
    """Whether a job that waits for this reason will not start until somebody changes something."""
    return _FOR_EVER.match(reason) is not None


def ended(tickets: Iterable[str]) -> dict[str, str]:
    """Ticket -> how a job that is no longer in the queue ended, as far as Slurm still knows."""
    states: dict[str, str] = {}
    arrays = sorted({ticket.partition("_")[0] for ticket in tickets})
    for array in arrays:
        try:  # needs an accounting data base, which small clusters lack
            text = _ask("sacct", "-X", "-n", "-P", "-j", array, "--format=JobID,State,ExitCode")
            rows = (line.split("|") for line in text.splitlines() if line.count("|") == 2)
            found = {number: _end(state, code) for number, state, code in rows}
        except ClusterError:
            found = _remembered(array)
        states.update(found)
    return {ticket: states[ticket] for ticket in tickets if ticket in states}


def cancel(tickets: Sequence[str]) -> None:
    """End jobs, queued or running.

    Raises:
        ClusterError: Slurm is not there or does not answer.
    """
    if tickets:
        _ask("scancel", *tickets)


def _remembered(array: str) -> dict[str, str]:
    """Ticket -> state, of an array's jobs: the controller remembers them for some minutes."""
    try:
        text = _ask("scontrol", "--oneliner", "show", "job", array)
    except ClusterError:
        return {}
    states: dict[str, str] = {}
    for line in text.splitlines():
        told = dict(re.findall(r"(\w+)=(\S+)", line))
        if "JobState" in told:
            task = told.get("ArrayTaskId")
            number = f"{told['ArrayJobId']}_{task}" if task else told["JobId"]
            states[number] = _end(told["JobState"], told.get("ExitCode", "0:0"))
    return states


def _end(state: str, exit_code: str) -> str:
    """A state and, of a job that ended by itself, its signal or exit code.

    A set-up that ends without a word has left nothing else to show.

    Args:
        state: As Slurm names it.
        exit_code: Code and signal, ``3:0``.
    """
    code, _, signal = exit_code.partition(":")
    if state in LIVING or state.startswith("CANCELLED"):
        return state
    if signal not in ("", "0"):
        return f"{state} by signal {signal}"
    return f"{state} with exit code {code}" if code not in ("", "0") else state


def _need(program: str) -> None:
    if shutil.which(program) is None:
        raise ClusterError(
            f"{program} is not on the PATH: no Slurm on this machine. Without one: "
            "hydra/launcher=batch"
        )


def _ask(program: str, *arguments: str) -> str:
    _need(program)
    try:
        done = subprocess.run(  # noqa: S603 - programs of Slurm, arguments of ours
            [program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=ANSWER_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"Slurm does not answer ({program}, {ANSWER_SECONDS} s).") from error
    if done.returncode != 0:
        raise ClusterError(f"{program}: {_why(done.stderr) or 'failed without a word'}")
    return done.stdout


def _why(text: str) -> str:
    """The line that says why a program of Slurm failed: the last one that names an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.search(line)]  # advice may stand behind them
    return (errors or lines or [""])[-1].rstrip(".")

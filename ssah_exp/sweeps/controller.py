"""Asking Slurm about the jobs of a sweep, and taking them back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence

from ssah_exp.errors import ClusterError
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job

ANSWER_SECONDS = 60  # a controller under load may take its time
ENDED_AT_ONCE = 500  # numbers in one call of scancel, which asks the controller about each of them

# What Slurm says of a job that it still has.
LIVING = ("PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "COMPLETING", "RESIZING")

# Reasons why a job waits that no waiting mends: what it asks for is beyond a limit for one job, or
# not to be had, or somebody has to release it. Limits for all jobs of a user, an account or a QOS
# together are none of these.
_FOR_EVER = re.compile(
    r"Partition(Time|Node)Limit|BadConstraints|DependencyNeverSatisfied|"
    r"Invalid(Account|QOS)|(Account|QOS)NotAllowed|(Assoc|QOS)Max\w*Per(Job|Node)\w*|QOSMin\w+|"
    r"JobHeld(User|Admin)|.*\bheld$"
)
_ERROR = re.compile(r"(error|fatal): |unrecognized|ambiguous|invalid", re.IGNORECASE)
# A person's defaults for these programs, which hide jobs or ask before they end one.
_DEFAULTS = ("SQUEUE_", "SACCT_", "SCANCEL_")
_GROUP = re.compile(r"(\d+)_\[([\d,:-]+)(?:%\d+)?\]")  # tasks of an array that are alike
_USUAL_ARRAY = 1001
_LARGEST = re.compile(r"^MaxArraySize\s*=\s*(\d+)", re.MULTILINE)


def job_name(sweep: Sweep) -> str:
    """What Slurm calls the jobs of a sweep: numbers alone are given again in time."""
    return f"ssah-{sweep.name}"


def largest_array() -> int:
    """How many jobs one array may have; Slurm's own default where it does not say."""
    try:
        said = ask("scontrol", "show", "config")
    except ClusterError:  # sbatch will say what is wrong
        said = ""
    found = _LARGEST.search(said)
    return max(1, int(found.group(1))) if found else _USUAL_ARRAY


def queue(users: Iterable[int], name: str) -> dict[str, tuple[str, str]]:
    """Jobs that Slurm has in its queue: number -> state and reason.

    Args:
        users: Ids of the users whose jobs to list.
        name: Name of the jobs, see :func:`job_name`.

    Raises:
        ClusterError: Slurm is not there or does not answer.
    """
    whose = f"--user={','.join(str(user) for user in sorted(set(users)))}"
    # --all: else jobs in partitions that are hidden from me are left out.
    given = ("--noheader", "--array", "--all", whose, "--format=%i|%T|%r|%j")
    return {number: (state, reason) for number, state, reason in _rows(ask("squeue", *given), name)}


def queue_of(sweep: Sweep, jobs: Iterable[Job]) -> dict[str, tuple[str, str]]:
    """:func:`queue`, of everybody who submitted one of a sweep's jobs, of its owner and of me.

    Raises:
        ClusterError: Slurm is not there or does not answer.
    """
    owners = [owner for job in jobs if (owner := job.submitted_by()) is not None]
    return queue([*owners, sweep.folder.stat().st_uid, os.getuid()], job_name(sweep))


def still_there(sweep: Sweep, jobs: Sequence[Job]) -> list[str]:
    """Slurm's numbers of those jobs that it has in its queue, cancelled or not.

    Raises:
        ClusterError: Slurm is not there or does not answer.
    """
    tickets = [ticket for job in jobs if (ticket := job.ticket()) is not None]
    known = queue_of(sweep, jobs) if tickets else {}
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


def ended(tickets: Sequence[str], name: str) -> dict[str, str]:
    """Ticket -> how a job that is no longer in the queue ended, as far as Slurm still knows.

    Args:
        tickets: Slurm's numbers.
        name: Name of the jobs: a number may have been given again to somebody else's.
    """
    arrays = sorted({ticket.partition("_")[0] for ticket in tickets})
    if not arrays:
        return {}
    try:  # needs an accounting data base, which small clusters lack
        found = _accounted(arrays, name)
    except ClusterError:
        found = {key: end for array in arrays for key, end in _remembered(array, name).items()}
    return {ticket: found[ticket] for ticket in tickets if ticket in found}


def cancel(tickets: Sequence[str]) -> None:
    """End jobs, queued or running.

    Raises:
        ClusterError: Slurm is not there or does not answer.
    """
    for at in range(0, len(tickets), ENDED_AT_ONCE):
        ask("scancel", *tickets[at : at + ENDED_AT_ONCE])


def need(program: str) -> None:
    """Refuse to go on without one of Slurm's programs.

    Raises:
        ClusterError: It is not on the path.
    """
    if shutil.which(program) is None:
        raise ClusterError(
            f"{program} is not on the PATH: no Slurm on this machine. Without one: "
            "hydra/launcher=batch"
        )


def ask(program: str, *arguments: str) -> str:
    """What one of Slurm's programs prints.

    Raises:
        ClusterError: It is not there, does not answer, or fails.
    """
    need(program)
    try:
        done = subprocess.run(  # noqa: S603 - programs of Slurm, arguments of ours
            [program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=ANSWER_SECONDS,
            env=_environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"Slurm does not answer ({program}, {ANSWER_SECONDS} s).") from error
    if done.returncode != 0:
        raise ClusterError(f"{program}: {why(done.stderr) or 'failed without a word'}")
    return done.stdout


def why(text: str) -> str:
    """The line that says why a program of Slurm failed: the last one that names an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.search(line)]  # advice may stand behind them
    return (errors or lines or [""])[-1].rstrip(".")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DEFAULTS)}
    return {**kept, "SLURM_BITSTR_LEN": "0"}  # groups of tasks are named in full


def _accounted(arrays: Sequence[str], name: str) -> dict[str, str]:
    """Ticket -> state, from the accounting data base."""
    columns = "--format=JobID,State,ExitCode,JobName"
    text = ask("sacct", "-X", "-n", "-P", "-j", ",".join(arrays), columns)
    return {
        number: _end(state, code)
        for given, state, code in _rows(text, name)
        for number in _each(given)
    }


def _rows(text: str, name: str) -> Iterator[list[str]]:
    """The first three of four columns, of jobs of that name; the name, last, may hold a ``|``."""
    for line in text.splitlines():
        *columns, named = line.split("|", 3)
        if len(columns) == 3 and named == name:
            yield columns


def _remembered(array: str, name: str) -> dict[str, str]:
    """Ticket -> state, of an array's jobs: the controller remembers them for some minutes."""
    try:
        text = ask("scontrol", "--oneliner", "show", "job", array)
    except ClusterError:
        return {}
    states: dict[str, str] = {}
    for line in text.splitlines():
        told = dict(re.findall(r"(\w+)=(\S+)", line))
        if "JobState" in told and f"JobName={name} " in line:
            task = told.get("ArrayTaskId")
            given = f"{told['ArrayJobId']}_[{task}]" if task else told["JobId"]
            end = _end(told["JobState"], told.get("ExitCode", "0:0"))
            states.update(dict.fromkeys(_each(given), end))
    return states


def _each(number: str) -> Iterator[str]:
    """A number, or those of a group: ``17_[1-3,9%64]`` is 17_1, 17_2, 17_3 and 17_9."""
    group = _GROUP.fullmatch(number)
    if group is None:
        yield number
        return
    array, tasks = group.groups()
    for part in tasks.split(","):
        ends, _, step = part.partition(":")
        first, _, last = ends.partition("-")
        for task in range(int(first), int(last or first) + 1, int(step or 1)):
            yield f"{array}_{task}"


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

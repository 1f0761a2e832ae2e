"""The folder of a sweep: its plan, and one folder per job with frozen config, state and log.

    <root>/sweeps/<name>/{sweep,jobs}.json
    <root>/sweeps/<name>/jobs/0007/{job,state,slurm}.json, log.txt, cancelled
    <root>/sweeps/<name>/slurm/

Nothing here reads ``conf/``: a job's config was resolved when it was submitted.
"""

from __future__ import annotations

import json
import re
import shlex
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ssah_exp.config.compose import parse_plain
from ssah_exp.config.paths import root_of
from ssah_exp.config.schema import RunConfig
from ssah_exp.errors import SsahWarning, StoreError, did_you_mean
from ssah_exp.folders import holding
from ssah_exp.jsontext import json_of
from ssah_exp.owner import Owner
from ssah_exp.records.provenance import now
from ssah_exp.storage import storage_errors, write_atomically
from ssah_exp.sweeps.state import JobState

PLAN, COUNT = "sweep.json", "jobs.json"
JOB, STATE, TICKET = "job.json", "state.json", "slurm.json"
LOG, CANCELLED = "log.txt", "cancelled"
_SLURM_NUMBER = re.compile(r"[0-9]+(_[0-9]+)?")
SLURM = "slurm"  # submission files, and what the jobs printed before and after their own logs


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        folder: Its folder; the name is its number.
    """

    folder: Path

    @property
    def number(self) -> int:
        """Its number within the sweep, from 0."""
        return int(self.folder.name)

    @property
    def log(self) -> Path:
        """What it printed, attempt after attempt."""
        return self.folder / LOG

    def overrides(self) -> list[str] | None:
        """The overrides it was submitted with, including those that all jobs of the sweep share.

        None if its file is damaged.
        """
        try:
            found = _read(self.folder / JOB, overrides=list)["overrides"]
        except StoreError:
            return None
        return [str(item) for item in found]

    def config(self) -> RunConfig:
        """The config as it was when the job was submitted.

        Raises:
            ConfigError: This version of the code does not accept it any more.
            StoreError: The file is damaged.
        """
        return parse_plain(_read(self.folder / JOB, config=dict)["config"])

    @property
    def damaged(self) -> bool:
        """Whether it cannot be run any more, since its frozen config cannot be read."""
        try:
            _read(self.folder / JOB, overrides=list, config=dict)
        except StoreError:
            return True
        return False

    def state(self) -> JobState:
        """What the job said last; queued if nothing yet or, with a warning, nothing readable."""
        path = self.folder / STATE
        try:
            return JobState.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return JobState()
        except (OSError, ValueError) as error:
            warnings.warn(f"Skipping {path}: {error}", SsahWarning, stacklevel=2)
            return JobState()

    def save(self, state: JobState) -> None:
        """Write the state.

        Raises:
            StoreError: The disk is full or not writable.
        """
        write_atomically(self.folder / STATE, state.to_json())

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked that it not be run, or not go on."""
        return (self.folder / CANCELLED).exists()

    def cancel(self, wanted: bool = True) -> None:
        """Ask that it be cancelled, or take that back, by a file: it may be writing its state.

        Raises:
            StoreError: The disk is full or not writable.
        """
        with storage_errors(self.folder):
            if wanted:
                (self.folder / CANCELLED).touch()
            else:
                (self.folder / CANCELLED).unlink(missing_ok=True)

    def ticket(self) -> str | None:
        """Slurm's number for it, e.g. ``17_3``.

        None if it was not given to Slurm, or if the file of the number is damaged.
        """
        try:
            return self._ticket()
        except StoreError:
            return None

    @property
    def ticket_lost(self) -> bool:
        """Whether it was given to Slurm under a number that cannot be read any more."""
        try:
            self._ticket()
        except StoreError:
            return True
        return False

    def _ticket(self) -> str | None:
        path = self.folder / TICKET
        if not path.is_file():
            return None
        number = str(_read(path, job=str)["job"])
        # Slurm's programs would take other words for options: scancel for all jobs of a user.
        if not _SLURM_NUMBER.fullmatch(number):
            raise StoreError(f"Cannot read {path}: {number!r} is no number of a job of Slurm.")
        return number

    def said_by_slurm(self) -> list[Path]:
        """What was printed outside of its log since it was given to Slurm, in order; often none."""
        ticket = self.ticket()
        if ticket is None:
            return []
        return sorted((self.folder.parents[1] / SLURM).glob(f"{ticket}_*.out"))

    def give_ticket(self, number: str) -> None:
        """Keep Slurm's number, in a file of its own: the job may be writing its state already.

        Raises:
            StoreError: The disk is full or not writable.
        """
        write_atomically(self.folder / TICKET, json.dumps({"job": number}))


@dataclass(frozen=True)
class Sweep:
    """A sweep on disk.

    Attributes:
        folder: Its folder.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Name of the folder, by default the time of submission."""
        return self.folder.name

    @property
    def given_as(self) -> str:
        """How to name it to commands: its name below the default root, its folder below others."""
        usual = root_of(None).absolute() == self.folder.absolute().parents[1]
        return self.name if usual else shlex.quote(str(self.folder))

    @property
    def lock(self) -> Path:
        """The lock that the process that runs the jobs itself holds (``batch``, ``local``)."""
        return self.folder / "running"

    def plan(self) -> dict[str, Any]:
        """How it was submitted: ``launcher``, ``options``, ``code``, ``owner``, ``cwd``, a time.

        Raises:
            StoreError: The file cannot be read, or lacks what is needed to go on.
        """
        return _read(self.folder / PLAN, launcher=str, options=dict, code=dict, cwd=str)

    def keep_options(self, options: dict[str, Any]) -> None:
        """Have this and later retries use other options of the launcher.

        Raises:
            StoreError: The plan cannot be read or written.
        """
        plan = {**self.plan(), "options": options}
        write_atomically(self.folder / PLAN, json.dumps(plan, indent=1))

    def from_the_future(self) -> str | None:
        """What to tell a person if it was submitted at a time that has not come yet."""
        created, _ = _age(self)
        if created <= now():
            return None
        return (
            f"Sweep {self.name} is of {created}, which is still to come: a clock was wrong, and "
            "another sweep may be the newest."
        )

    def place(self, say: Callable[[str], None]) -> Path:
        """The folder it was submitted from, to which relative paths in frozen configs refer.

        Args:
            say: Gets a line if that folder is gone: then it is the current one.
        """
        place = Path(str(self.plan()["cwd"]))
        if place.is_dir():
            return place
        say(f"{place}, where the sweep was submitted, is gone; relative paths are read from here")
        return Path.cwd()

    def jobs(self) -> list[Job]:
        """Every job that was frozen, by number; one that may not be read is skipped with a warning.

        Raises:
            StoreError: The folder of jobs may not be read.
        """
        found = holding(self.folder / "jobs", JOB)
        return sorted((Job(path.parent) for path in found), key=lambda job: job.number)

    def expect(self, jobs: int) -> None:
        """Remember how many jobs there will be at least, before the first one is written down.

        Raises:
            StoreError: The disk is full or not writable.
        """
        write_atomically(self.folder / COUNT, json.dumps({"jobs": jobs}))

    def none_follow(self) -> None:
        """Expect no job beyond those that are written down."""
        jobs = len(self.jobs())
        if self.cut_short(jobs) or self.uncounted():
            self.expect(jobs)

    def uncounted(self) -> str | None:
        """What to tell a person if nobody knows any more how many jobs there were to be."""
        try:
            self._expected()
        except StoreError as error:
            return f"{error}. It is not known whether sweep {self.name} lacks jobs."
        return None

    def _expected(self) -> int:
        """How many jobs there will be at least; earlier versions noted no number, 1 stands for it.

        Raises:
            StoreError: The file is damaged.
        """
        path = self.folder / COUNT
        return int(_read(path, jobs=int)["jobs"]) if path.is_file() else 1

    def cut_short(self, there: int) -> str | None:
        """What to tell a person if the sweep lacks jobs; None = none, or :meth:`uncounted`.

        Args:
            there: How many :meth:`jobs` the sweep has.
        """
        try:
            wanted = self._expected()
        except StoreError:
            return None
        if there >= wanted:
            return None
        return (
            f"Only {there} of at least {wanted} jobs of sweep {self.name} are written down: it is "
            "still being launched, or its launch was ended; then run the command that launched it "
            "again."
        )

    def job(self, number: int) -> Job:
        """The job of that number."""
        return Job(self.folder / "jobs" / f"{number:04d}")

    def freeze(self, number: int, overrides: Sequence[str], config: RunConfig) -> Job:
        """Write down what a job will run, whatever becomes of ``conf/``.

        ``config.paths.root`` is made absolute in place.

        Raises:
            StoreError: The disk is full or not writable.
        """
        job = self.job(number)
        config.paths.root = str(Path(config.paths.root).expanduser().absolute())
        content = {"number": number, "overrides": list(overrides), "config": asdict(config)}
        write_atomically(job.folder / JOB, json.dumps(content, indent=1))
        return job


def differences(jobs: Sequence[Job]) -> dict[int, str]:
    """Number of each job -> the overrides it does not share with all others, as one text.

    Jobs whose overrides cannot be read have none, and count as no others.
    """
    given = {job.number: job.overrides() for job in jobs}
    known = [set(overrides) for overrides in given.values() if overrides is not None]
    shared = set.intersection(*known) if len(known) > 1 else set()
    return {
        number: " ".join(item for item in overrides or () if item not in shared)
        for number, overrides in given.items()
    }


def open_sweep(folder: Path, launcher: str, options: dict[str, Any], code: dict[str, Any]) -> Sweep:
    """Begin a sweep in a folder that holds none yet.

    Raises:
        StoreError: The folder holds a sweep, or cannot be written.
    """
    plan = {
        "launcher": launcher,
        "options": options,
        "code": code,
        "owner": asdict(Owner.me()),
        "cwd": str(Path.cwd()),
        "created": now(),
    }
    path = folder / PLAN
    with storage_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            path.touch(exist_ok=False)
        except FileExistsError as error:
            raise StoreError(f"{folder} holds another sweep already; start again.") from error
    try:
        write_atomically(path, json.dumps(plan, indent=1))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Sweep(folder.absolute())


def sweeps_below(root: Path) -> list[Sweep]:
    """Every sweep of a root, oldest first; one that was killed before it had a plan does not count.

    One that may not be read is skipped with a warning.

    Raises:
        StoreError: The folder of sweeps may not be read.
    """
    found = holding(root.absolute() / "sweeps", PLAN)  # workers change directory
    return sorted((Sweep(path.parent) for path in found if path.stat().st_size > 0), key=_age)


def _age(sweep: Sweep) -> tuple[str, str]:
    """When it was submitted, and its name: a folder may be called anything."""
    try:
        created = _read(sweep.folder / PLAN).get("created")
    except StoreError:  # damaged: it keeps its place; whoever asks for it will be told
        created = None
    written = datetime.fromtimestamp((sweep.folder / PLAN).stat().st_mtime, UTC)
    return str(created or written.isoformat(timespec="seconds")), sweep.name


def find_sweep(root: Path, name: str | None, *, to_change: bool = False) -> Sweep:
    """A sweep by its name or its folder; None = the newest.

    Args:
        root: Where runs lie.
        name: Its name or its folder.
        to_change: Whether jobs will be ended or run: then it has to be certain which is the newest.

    Raises:
        StoreError: There is none, or a name is needed.
    """
    sweeps = {sweep.name: sweep for sweep in sweeps_below(root)}
    if name is not None and (Path(name) / PLAN).is_file():
        return Sweep(Path(name).absolute())
    if not sweeps:
        raise StoreError(f"No sweep below {root}. Start one with: ssah-exp run -m KEY=A,B ...")
    if name is None:
        newest = list(sweeps.values())[-1]
        doubt = newest.from_the_future() if to_change and len(sweeps) > 1 else None
        if doubt is not None:
            raise StoreError(f"{doubt} Name the one you mean; ssah-exp status --all lists them.")
        return newest
    if name not in sweeps:
        raise StoreError(f"No sweep '{name}' below {root}.{did_you_mean(name, sweeps)}")
    return sweeps[name]


def _read(path: Path, **keys: type) -> dict[str, Any]:
    """The object that a file holds.

    Args:
        path: A JSON file.
        keys: What it has to hold, and of which kind.

    Raises:
        StoreError: It cannot be read, or something is lacking or of another kind.
    """
    try:
        content = json_of(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        wrong = [key for key, kind in keys.items() if not isinstance(content.get(key), kind)]
        if wrong:
            raise ValueError(f"without a usable '{wrong[0]}' it is damaged")
        return content
    except (OSError, ValueError) as error:
        raise StoreError(f"Cannot read {path}: {error}") from error

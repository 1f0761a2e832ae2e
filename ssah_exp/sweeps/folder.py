"""The folder of a sweep: its plan, and one folder per job with frozen config, state and log.

    <root>/sweeps/<name>/{sweep,jobs}.json
    <root>/sweeps/<name>/jobs/0007/{job,state,slurm}.json, log.txt, cancelled
    <root>/sweeps/<name>/slurm/

Nothing here reads ``conf/``: a job's config was resolved when it was submitted.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ssah_exp.config.paths import root_of
from ssah_exp.config.schema import RunConfig
from ssah_exp.errors import StoreError
from ssah_exp.folders import holding
from ssah_exp.owner import Owner
from ssah_exp.records.provenance import now
from ssah_exp.storage import storage_errors, write_atomically
from ssah_exp.sweeps.job import JOB, Job
from ssah_exp.sweeps.reading import read_object

PLAN, COUNT = "sweep.json", "jobs.json"


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
        usual = self.folder.absolute().parent == root_of(None).absolute() / "sweeps"
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
        return read_object(self.folder / PLAN, launcher=str, options=dict, code=dict, cwd=str)

    def keep_options(self, options: dict[str, Any]) -> None:
        """Have this and later retries use other options of the launcher.

        Raises:
            StoreError: The plan cannot be read or written.
        """
        plan = {**self.plan(), "options": options}
        write_atomically(self.folder / PLAN, json.dumps(plan, indent=1))

    @property
    def created(self) -> str:
        """When it was submitted; if its plan is damaged, when that file was last written."""
        path = self.folder / PLAN
        try:
            created = read_object(path).get("created")
        except StoreError:  # it keeps its place among others; whoever asks for it will be told
            created = None
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return str(created or written.isoformat(timespec="seconds"))

    def from_the_future(self) -> str | None:
        """What to tell a person if it was submitted at a time that has not come yet."""
        created = self.created
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
        found = [path.parent for path in holding(self.folder / "jobs", JOB)]
        jobs = [Job(place) for place in found if place.name.isdecimal()]  # no person's copies
        return sorted(jobs, key=lambda job: job.number)

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
        return int(read_object(path, jobs=int)["jobs"]) if path.is_file() else 1

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

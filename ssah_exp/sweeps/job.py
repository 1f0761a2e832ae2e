"""One job of a sweep on disk: a folder with its frozen config, its state and its log.

Nothing here reads ``conf/``: a job's config was resolved when it was submitted.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssah_exp.config.compose import parse_plain
from ssah_exp.config.schema import RunConfig
from ssah_exp.errors import SsahWarning, StoreError
from ssah_exp.folders import listed
from ssah_exp.storage import storage_errors, write_atomically
from ssah_exp.sweeps.reading import read_object
from ssah_exp.sweeps.state import JobState

JOB, STATE, TICKET = "job.json", "state.json", "slurm.json"
LOG, CANCELLED = "log.txt", "cancelled"
SLURM = "slurm"  # submission files, and what the jobs printed before and after their own logs
_SLURM_NUMBER = re.compile(r"[0-9]+(_[0-9]+)?")
_PRINTED = re.compile(r"([0-9]+(?:_[0-9]+)?)_[0-9]+_.*\.out")


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
            found = read_object(self.folder / JOB, overrides=list)["overrides"]
        except StoreError:
            return None
        return [str(item) for item in found]

    def config(self) -> RunConfig:
        """The config as it was when the job was submitted.

        Raises:
            ConfigError: This version of the code does not accept it any more.
            StoreError: The file is damaged.
        """
        return parse_plain(read_object(self.folder / JOB, config=dict)["config"])

    @property
    def damaged(self) -> bool:
        """Whether it cannot be run any more, since its frozen config cannot be read."""
        try:
            read_object(self.folder / JOB, overrides=list, config=dict)
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

    def submitted_by(self) -> int | None:
        """Id of the user who gave it to Slurm last; None if nobody did."""
        try:
            return (self.folder / TICKET).stat().st_uid
        except OSError:
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
        number = str(read_object(path, job=str)["job"])
        # Slurm's programs would take other words for options: scancel for all jobs of a user.
        if not _SLURM_NUMBER.fullmatch(number):
            raise StoreError(f"Cannot read {path}: {number!r} is no number of a job of Slurm.")
        return number

    def said_by_slurm(self) -> list[Path]:
        """What was printed outside of its log since it was given to Slurm, in order; often none."""
        return printed_under_slurm(self.folder.parents[1]).get(self.ticket() or "", [])

    def give_ticket(self, number: str) -> None:
        """Keep Slurm's number, in a file of its own: the job may be writing its state already.

        Raises:
            StoreError: The disk is full or not writable.
        """
        write_atomically(self.folder / TICKET, json.dumps({"job": number}))


def printed_under_slurm(sweep: Path) -> dict[str, list[Path]]:
    """Slurm's number of a job -> the files of what was printed outside of its log, in order.

    Args:
        sweep: The sweep's folder.

    Raises:
        StoreError: What Slurm printed may not be read.
    """
    found: dict[str, list[Path]] = {}
    for path in listed(sweep / SLURM):
        if printed := _PRINTED.fullmatch(path.name):
            found.setdefault(printed.group(1), []).append(path)
    return found


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

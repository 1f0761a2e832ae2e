"""What every tracker offers, and what it is told of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ssah_exp.records.record import RunRecord, StageRecord
from ssah_exp.records.trackers.sweep import SweepJob, job_at_work

_LONGEST_TAG = 64


@dataclass(frozen=True)
class RunHead:
    """What is known of a run before it has computed anything.

    Attributes:
        run_id: Hash of what decides the result; it names the run in every tracker.
        artefact: Table or figure it belongs to.
        seed: The run's seed.
        config: Science part of the resolved config.
        inputs: Content hashes of model and data sets.
        provenance: Code, packages and machine.
        job: The job of a sweep that this process works on, if any.
    """

    run_id: str
    artefact: str
    seed: int
    config: dict[str, Any]
    inputs: dict[str, str]
    provenance: dict[str, Any]
    job: SweepJob | None = field(default_factory=job_at_work)

    @classmethod
    def of(cls, record: RunRecord) -> RunHead:
        """The head of a finished run."""
        return cls(
            record.run_id,
            record.artefact,
            record.seed,
            record.config,
            record.inputs,
            record.provenance,
        )

    @property
    def name(self) -> str:
        """Artefact and run id."""
        return f"{self.artefact}-{self.run_id}"

    @property
    def model(self) -> str:
        """The configured name of the model."""
        return str(self.config["model"]["name"])

    @property
    def tags(self) -> list[str]:
        """Artefact, model, data, seed and sweep: what people pick runs by."""
        data = self.config["data"]["name"]
        found = [self.artefact, self.model, str(data), f"seed-{self.seed}"]
        found += [] if self.job is None else [f"sweep-{self.job.sweep}"]
        return [tag[:_LONGEST_TAG] for tag in dict.fromkeys(found) if tag]

    @property
    def notes(self) -> str | None:
        """Overrides of a sweep's job, but for those that name places; None for other runs."""
        return None if self.job is None else " ".join(self.job.overrides)

    def described(self) -> dict[str, Any]:
        """The config as in the record, with input hashes, provenance and, in a sweep, the job."""
        sweep = {} if self.job is None else {"sweep": self.job.described()}
        return {**self.config, "inputs": self.inputs, "provenance": self.provenance, **sweep}


class LiveRun(Protocol):
    """A run that a tracker shows while it works."""

    def stage(self, stage: StageRecord) -> None:
        """Show that a stage is done."""

    def finish(self, record: RunRecord, folder: Path) -> str:
        """Show the record and what lies in the run's folder; return where it can be seen."""

    def stop(self, reason: str) -> None:
        """End a run that leaves no record; the same run may be opened again."""


@contextmanager
def ended_on_error(end: Callable[[], None]) -> Iterator[None]:
    """Call ``end`` if the block fails; what it raises is not shown in place of what the block did.

    Args:
        end: Ends a run that is open.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):
            end()
        raise


@runtime_checkable
class Tracker(Protocol):
    """A place where runs are shown."""

    @property
    def key(self) -> str:
        """Name of the place that is written to; a run is mirrored once into each."""

    def wanted(self) -> dict[str, bool]:
        """What can be sent beside the record -> whether it is, e.g. ``deltas``."""

    def open(self, head: RunHead, root: Path) -> LiveRun | None:
        """Begin to show a run, or go on with it; None where nothing is shown before the end.

        Args:
            head: What is known of the run.
            root: Local files go below it.

        Raises:
            TrackerError: The tracker takes nothing.
            StoreError: Local files cannot be written.
        """

    def mirror(self, record: RunRecord, folder: Path, root: Path) -> str:
        """Send a finished record; return where it can be seen.

        Args:
            record: What to show.
            folder: The run's folder; need not exist.
            root: Local files go below it.

        Raises:
            TrackerError: The tracker takes nothing.
            StoreError: Local files cannot be written, or a file of the run's folder is a link.
        """

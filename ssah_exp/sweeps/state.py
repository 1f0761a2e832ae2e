"""What a job says of itself: one small file, replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from ssah_exp.jsontext import json_of
from ssah_exp.owner import Owner
from ssah_exp.records.provenance import now

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
CANCELLED, INTERRUPTED, MISSING = "cancelled", "interrupted", "missing"
# In the order of a summary. No job says of itself that it is ``missing``.
STATUSES = (QUEUED, RUNNING, DONE, FAILED, INTERRUPTED, CANCELLED, MISSING)
# What `retry-failed` queues again.
UNFINISHED = (FAILED, INTERRUPTED, CANCELLED, MISSING)


@dataclass(frozen=True)
class JobState:
    """The state of one job.

    Attributes:
        status: One of ``STATUSES``.
        attempts: How often it was started.
        timeouts: How often its time under Slurm ran out.
        owner: The process that runs it, or ran it last.
        progress: What it does now, e.g. ``[3/14] SCU/pooled answers 40/112``.
        run_id: Run id of its record, once it is done.
        artefact: Artefact of its record, likewise.
        folder: Path of the run's folder relative to the job's, so that the root may be moved.
        error: Why it failed or was interrupted, in one line.
        started: ISO time of the last start.
        updated: ISO time of the last change, for people; nothing is decided by it.
        seconds: Wall time of the last attempt.
    """

    status: str = QUEUED
    attempts: int = 0
    timeouts: int = 0
    owner: Owner | None = None
    progress: str = ""
    run_id: str | None = None
    artefact: str | None = None
    folder: str | None = None
    error: str | None = None
    started: str | None = None
    updated: str | None = None
    seconds: float | None = None

    def changed(self, **changes: Any) -> JobState:
        """A copy with some fields replaced, updated now."""
        return replace(self, updated=now(), **changes)

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> JobState:
        """Undo :meth:`to_json`.

        Raises:
            ValueError: The text is something else.
        """
        try:
            content = json_of(text)
            owner = content.pop("owner")
            return cls(**content, owner=None if owner is None else Owner(**owner))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a job's state: {error}") from error

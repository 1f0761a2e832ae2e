"""What is asked of the harness and what comes back, as plain values; needs no harness."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ssah_exp.storage import write_atomically


@dataclass(frozen=True)
class TaskRequest:
    """One task.

    Attributes:
        task: Name in :data:`ssah_exp.config.utility.TASK_METRICS`.
        limit: Number of examples to run, from the first, per subject where there are subjects; None
            = all.
        fewshot: Number of shots; None = the harness's own.
        root: Folder of the files; None = documents come from the hub.
        batch_size: Sequences per forward pass.
    """

    task: str
    limit: int | None
    fewshot: int | None
    root: Path | None
    batch_size: int


@dataclass(frozen=True)
class TaskOutcomes:
    """A model's answers to one task.

    Attributes:
        task: Its name.
        version: The harness's version of the task.
        fewshot: Shots given.
        available: Examples the whole task has.
        answers: Metric -> 1 for each right answer, 0 for each wrong one, by subject and then in the
            task's order, so that arms can be paired.
        documents: sha256 over the questions as asked, shots and right answers included, whatever
            their source; "" in entries of earlier versions.
    """

    task: str
    version: str
    fewshot: int
    available: int
    answers: dict[str, list[int]]
    documents: str = ""

    def save(self, folder: Path) -> None:
        """Write ``outcomes.json``."""
        write_atomically(folder / "outcomes.json", json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> TaskOutcomes:
        """Undo :meth:`save`."""
        return cls(**json.loads((folder / "outcomes.json").read_text(encoding="utf-8")))

"""What further judges said of a finished run: a file for each beside its record.

``record.json`` has them in ``record.judges/NAME.json``, a record file ``ID.json`` in
``ID.judges/NAME.json``. The record itself stays as the run wrote it; who reads it for tables gets
their numbers as those of judges that do not lead.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ssah_exp.errors import StoreError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.metrics import Measured
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.records.record import ArmRecord, RunRecord, status_of
from ssah_exp.storage import write_atomically

SCHEMA = 1


@dataclass(frozen=True)
class LaterJudge:
    """One judge on all arms of one run.

    Attributes:
        run_id: The run whose answers were judged.
        judge: Name in metrics.
        described: What the judge is.
        arms: Arm -> metrics and outcomes.
        provenance: Code, packages and machine.
        finished: ISO time.
        schema: Of this file.
    """

    run_id: str
    judge: str
    described: dict[str, Any]
    arms: dict[str, Measured]
    provenance: dict[str, Any]
    finished: str
    schema: int = SCHEMA

    def unanswered(self) -> dict[str, int]:
        """Arm -> answers that the judge failed on."""
        failed = {name: found.outcomes.failed.get(self.judge) for name, found in self.arms.items()}
        return {name: count for name, count in failed.items() if count}

    def write(self, record: Path) -> Path:
        """Write the file beside a record.

        Raises:
            StoreError: The disk is full or not writable.
        """
        path = _folder(record) / f"{self.judge}.json"
        write_atomically(path, json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False))
        return path

    @classmethod
    def from_json(cls, text: str) -> LaterJudge:
        """Undo :meth:`write`.

        Raises:
            StoreError: Something else.
        """
        try:
            content = json.loads(text)
            if content["schema"] != SCHEMA:
                raise StoreError(f"Schema {content['schema']}, expected {SCHEMA}.")
            arms = {name: _measured(found) for name, found in content.pop("arms").items()}
            return cls(**content, arms=arms)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"Not what a judge said of a run: {error}") from error


def with_later_judges(record: RunRecord, path: Path) -> RunRecord:
    """A record with what lies beside it; what cannot be read, or is another run's, is warned of.

    A judge of the run itself stays as the run has it.

    Args:
        record: As it was read.
        path: Where from.
    """
    for file in sorted(_folder(path).glob("*.json")):
        try:
            later = LaterJudge.from_json(file.read_text(encoding="utf-8"))
        except (StoreError, OSError, ValueError) as error:  # ValueError: not UTF-8
            warnings.warn(f"Skipping {file}: {error}", stacklevel=3)
            continue
        if later.run_id != record.run_id:
            warnings.warn(f"Skipping {file}: it is about run {later.run_id}.", stacklevel=3)
        elif later.judge not in record.judges:
            record = _joined(record, later)
    return record


def _folder(record: Path) -> Path:
    return record.with_suffix(".judges")


def _joined(record: RunRecord, later: LaterJudge) -> RunRecord:
    arms = [_arm(arm, later.arms.get(arm.name)) for arm in record.arms]
    judges = {**record.judges, later.judge: later.described}
    return replace(record, judges=judges, arms=arms, status=status_of(arms))


def _arm(arm: ArmRecord, found: Measured | None) -> ArmRecord:
    if found is None:
        return arm
    joined = Measured(dict(arm.metrics), deepcopy(arm.outcomes or Outcomes()))
    joined.add(found)
    return replace(arm, metrics=joined.metrics, outcomes=joined.outcomes)


def _measured(content: Mapping[str, Any]) -> Measured:
    metrics = {name: Estimate(**value) for name, value in content["metrics"].items()}
    return Measured(metrics, Outcomes(**content["outcomes"]))

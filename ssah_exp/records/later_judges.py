"""What further judges said of a finished run: a file for each beside its record.

``record.json`` has them in ``record.judges/NAME.json``, a record file ``ID.json`` in
``ID.judges/NAME.json``. The record itself stays as the run wrote it; when it is read for tables,
these numbers join it as those of judges that do not lead tables.

A run may be made again under the same id, with other answers. A file belongs to the answers whose
hash it holds; where answers are not at hand, as beside a copied record, it belongs to the record
whose finishing time it holds.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from ssah_exp.digest import digest_file, digest_of
from ssah_exp.errors import SsahWarning, StoreError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.metrics import Measured
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.folders import listed
from ssah_exp.jsontext import json_of
from ssah_exp.records.kinds import check_of
from ssah_exp.records.parts import Described
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.storage import write_atomically

SCHEMA = 2


@dataclass(frozen=True)
class LaterJudge:
    """One judge on all arms of one run.

    Attributes:
        run_id: The run whose answers were judged.
        answers: Hash of these answers, from :func:`answers_digest`.
        record_finished: ``finished`` of the record they lay beside.
        judge: The judge's name in metrics.
        described: What the judge is.
        arms: Arm -> metrics and outcomes.
        provenance: Code, packages and machine.
        finished: ISO time at which the judge was done.
        schema: Version of this file's format.
    """

    run_id: str
    answers: str
    record_finished: str
    judge: str
    described: Annotated[dict[str, Any], Described]
    arms: dict[str, Measured]
    provenance: dict[str, Any]
    finished: str
    schema: int = SCHEMA

    def unanswered(self) -> dict[str, int]:
        """Arm -> number of answers that the judge failed on, where there are any."""
        failed = {name: found.outcomes.failed.get(self.judge) for name, found in self.arms.items()}
        return {name: count for name, count in failed.items() if count}

    def scored(self) -> bool:
        """Whether it gave any answer a score, as judges of harm do."""
        by_style = (found.outcomes.scores.values() for found in self.arms.values())
        return any(score is not None for given in by_style for scores in given for score in scores)

    def write(self, record: Path) -> Path:
        """Write the file beside a record; return its path.

        Args:
            record: Path of the record.

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
            StoreError: The text is something else.
        """
        try:
            content = json_of(text)
            if content["schema"] != SCHEMA:
                raise StoreError(f"Schema {content['schema']}, expected {SCHEMA}.")
            check_of(cls)(content)
            arms = {name: _measured(found) for name, found in content.pop("arms").items()}
            return cls(**content, arms=arms)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"Not what a judge said of a run: {error}") from error


def answers_digest(record: RunRecord, folder: Path) -> str | None:
    """Hash of every arm's answers; None where it is not known.

    It is of the answers that the record was made of. What lies in the folder may be of a later call
    that has not come to its record; only records of earlier versions know no better.

    Args:
        record: A run's record.
        folder: The run's folder.
    """
    recorded = {arm.name: arm.completions_sha256 for arm in record.arms}
    if all(recorded.values()):
        return digest_of(recorded)
    files = {arm.name: folder / arm.completions for arm in record.arms if arm.completions}
    if len(files) < len(record.arms) or not all(path.is_file() for path in files.values()):
        return None
    return digest_of({name: digest_file(path) for name, path in files.items()})


def _answers_at_hand(record: RunRecord, folder: Path) -> str | None:
    """:func:`answers_digest`; None, with a warning, where they may not be read."""
    try:
        return answers_digest(record, folder)
    except OSError as error:
        warnings.warn(
            f"Answers of run {record.run_id} cannot be read: {error}", SsahWarning, stacklevel=4
        )
        return None


def with_later_judges(record: RunRecord, path: Path) -> RunRecord:
    """A record with what later judges' files beside it hold.

    A file that cannot be read, or is about another run or about answers that the run no longer has,
    is skipped with a warning. A judge of the run itself stays as the run has it, and so does the
    record's status.

    Args:
        record: The record as it was read.
        path: Where it was read from.
    """
    files = _files_beside(path)
    answers = _answers_at_hand(record, path.parent) if files else None
    for file in files:
        try:
            later = LaterJudge.from_json(file.read_text(encoding="utf-8"))
        except (StoreError, OSError, ValueError) as error:  # ValueError: not UTF-8
            warnings.warn(f"Skipping {file}: {error}", SsahWarning, stacklevel=3)
            continue
        if later.run_id != record.run_id:
            warnings.warn(
                f"Skipping {file}: it is about run {later.run_id}.", SsahWarning, stacklevel=3
            )
        elif not _of_these_answers(later, record, answers):
            warnings.warn(
                f"Skipping {file}: run {record.run_id} was made again since; 'ssah-exp judges run' "
                "on the run's folder judges what is there now.",
                SsahWarning,
                stacklevel=3,
            )
        elif later.judge not in record.judges:
            record = _joined(record, later)
    return record


def _files_beside(record: Path) -> list[Path]:
    try:
        return [file for file in listed(_folder(record)) if file.suffix == ".json"]
    except StoreError as error:
        warnings.warn(f"Skipping what judges said later: {error}", SsahWarning, stacklevel=4)
        return []


def _of_these_answers(later: LaterJudge, record: RunRecord, answers: str | None) -> bool:
    if answers is None:
        return later.record_finished == record.finished
    return later.answers == answers


def _folder(record: Path) -> Path:
    return record.with_suffix(".judges")


def _joined(record: RunRecord, later: LaterJudge) -> RunRecord:
    arms = [_arm(arm, later.arms.get(arm.name)) for arm in record.arms]
    judges = {**record.judges, later.judge: later.described}
    return replace(record, judges=judges, arms=arms, later=(*record.later, later.judge))


def _arm(arm: ArmRecord, found: Measured | None) -> ArmRecord:
    if found is None:
        return arm
    joined = Measured(dict(arm.metrics), deepcopy(arm.outcomes or Outcomes()))
    joined.add(found)
    return replace(arm, metrics=joined.metrics, outcomes=joined.outcomes)


def _measured(content: Mapping[str, Any]) -> Measured:
    metrics = {name: Estimate(**value) for name, value in content["metrics"].items()}
    return Measured(metrics, Outcomes(**content["outcomes"]))

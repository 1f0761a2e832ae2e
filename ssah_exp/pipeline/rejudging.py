"""Judging a finished run's stored answers again, without its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssah_exp.config.plugins import code_of
from ssah_exp.config.schema import AttackConfig, EvaluationConfig
from ssah_exp.digest import digest_file
from ssah_exp.errors import StoreError
from ssah_exp.evaluation.judges import Judge
from ssah_exp.evaluation.metrics import judge_arm
from ssah_exp.evaluation.questions import Completion, read_completions
from ssah_exp.records.later_judges import LaterJudge, answers_digest
from ssah_exp.records.provenance import now, provenance
from ssah_exp.records.record import ArmRecord, RunRecord


def rejudge(record: RunRecord, folder: Path, judges: dict[str, Judge]) -> dict[str, LaterJudge]:
    """What other judges say of every arm; the run's record stays as it is, nothing is written.

    MT-bench's answers are left out: only its own judge has the questions' references.

    Args:
        record: The run's.
        folder: The run's folder, with its completions.
        judges: By name.

    Returns:
        Judge name -> what it says, by the run's own prompt styles and confidence.

    Raises:
        StoreError: Completions are missing, or the run's artefact keeps none.
    """
    answers = stored_answers(record, folder)
    digest = answers_digest(record, folder) or ""
    evaluation = _evaluation(record.config["evaluation"])
    origin, found = provenance(), {}
    for name, judge in judges.items():
        said = {
            arm: judge_arm(completions, name, judge, evaluation)
            for arm, completions in answers.items()
        }
        found[name] = LaterJudge(
            run_id=record.run_id,
            answers=digest,
            record_finished=record.finished,
            judge=name,
            # Described after its work: an endpoint names its model with every answer.
            described={**judge.describe(), **code_of(judge)},
            arms=said,
            provenance=origin,
            finished=now(),
        )
    return found


def stored_answers(record: RunRecord, folder: Path) -> dict[str, list[Completion]]:
    """A finished run's answers, by arm.

    Raises:
        StoreError: Completions are missing or others than the record's, or its artefact keeps none.
    """
    if not all(arm.completions for arm in record.arms):
        raise StoreError(f"{folder}: a run of {record.artefact} keeps no completions.")
    return {arm.name: _completions(arm, folder) for arm in record.arms}


def _completions(arm: ArmRecord, folder: Path) -> list[Completion]:
    path = folder / arm.completions
    completions = read_completions(path)
    if arm.completions_sha256 not in (None, digest_file(path)):
        raise StoreError(
            f"{path} is not what the run's record was made of: the run is being made again, or was "
            "ended while it was. Its command, given again, brings both together."
        )
    return completions


def _evaluation(recorded: dict[str, Any]) -> EvaluationConfig:
    """What judging needs of the run's evaluation settings."""
    return EvaluationConfig(
        harmful_styles=recorded["harmful_styles"],
        benign_style=recorded["benign_style"],
        confidence=recorded["confidence"],
        bootstrap_resamples=recorded["bootstrap_resamples"],
        attacks={name: AttackConfig(**node) for name, node in recorded.get("attacks", {}).items()},
        mean_with=recorded.get("mean_with"),
    )

"""Judging a finished run's stored answers again, without its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssah_exp.config.schema import AttackConfig, EvaluationConfig
from ssah_exp.errors import StoreError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.judges import Judge
from ssah_exp.evaluation.metrics import judge_arm
from ssah_exp.evaluation.questions import read_completions
from ssah_exp.records.record import RunRecord


def rejudge(folder: Path, judges: dict[str, Judge]) -> dict[str, dict[str, Estimate]]:
    """What other judges say of every arm; the run's record stays as it is.

    Args:
        folder: The run's folder, with ``record.json`` and its completions.
        judges: By name.

    Returns:
        Arm -> metric -> estimate, with the run's own prompt styles and confidence.

    Raises:
        StoreError: No record there, or completions are missing.
    """
    try:
        text = (folder / "record.json").read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{folder} is no folder of a finished run: {error}") from error
    record = RunRecord.from_json(text)
    if not all(arm.completions for arm in record.arms):
        raise StoreError(f"{folder}: a run of {record.artefact} keeps no completions.")
    evaluation = _evaluation(record.config["evaluation"])
    found: dict[str, dict[str, Estimate]] = {}
    for arm in record.arms:
        completions = read_completions(folder / arm.completions)
        found[arm.name] = {}
        for name, judge in judges.items():
            found[arm.name] |= judge_arm(completions, name, judge, evaluation).metrics
    return found


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

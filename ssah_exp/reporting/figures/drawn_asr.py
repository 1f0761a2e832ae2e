"""Which ASR a figure draws."""

from __future__ import annotations

from typing import Any

from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.metric_names import MEAN, asr_name
from ssah_exp.records.record import ArmRecord


def prompts_text(evaluation: dict[str, Any], style: str | None) -> str:
    """Which prompts an axis of ASR is about; arguments as for :func:`drawn_asr`."""
    given = evaluation["harmful_styles"]
    only = style or (given[0] if len(given) == 1 else None)
    return "mean of the prompt styles" if only is None else f"{only} prompts"


def drawn_asr(evaluation: dict[str, Any], arm: ArmRecord, style: str | None) -> str:
    """Name of the ASR metric of a prompt style, by the primary judge.

    Args:
        evaluation: That group of a record's config.
        arm: Any measured arm.
        style: Prompt style of the harmful requests; None = the mean over styles.

    Raises:
        ConfigError: The arm was not measured in that style.
    """
    metric = asr_name(style or MEAN, evaluation["primary_judge"])
    if metric not in arm.metrics:
        allowed = ", ".join(evaluation["harmful_styles"])
        raise ConfigError(
            f"No ASR for style '{style or MEAN}' in these records. Allowed: {allowed}."
        )
    return metric

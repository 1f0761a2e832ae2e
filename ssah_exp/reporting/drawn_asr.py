"""Which ASR a figure draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.evaluation.metric_names import MEAN, asr_name
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.settings import unlike_judge, unlike_judges


@dataclass(frozen=True)
class DrawnAsr:
    """Of which prompts, by whose verdicts.

    Attributes:
        style: Prompt style of the harmful requests; None = the mean over styles.
        judge: Whose verdicts, those given later included; None = the run's primary judge.
    """

    style: str | None = None
    judge: str | None = None

    def name(self, evaluation: dict[str, Any]) -> str:
        """Its name in a record of that config, measured or not."""
        return asr_name(self.style or MEAN, self.judge or evaluation["primary_judge"])

    def check(self, records: Sequence[RunRecord]) -> None:
        """Refuse to draw what was not measured; a judge may have been asked of some seeds alone.

        Args:
            records: Of one artefact, at least one.

        Raises:
            ConfigError: No arm of any record was measured in that style, or none by that judge, or
                its name stands for several judges.
        """
        if keys := unlike_judges(records).get(self.judge or ""):
            raise ConfigError(f"{unlike_judge(str(self.judge), keys, records)}.")
        if any(
            self.name(record.config["evaluation"]) in arm.metrics
            for record in records
            for arm in record.arms
        ):
            return
        style, evaluation = self.style or MEAN, records[0].config["evaluation"]
        judges = _judges(records, style)
        if self.judge is not None and judges:
            hint = did_you_mean(self.judge, judges)
            raise ConfigError(f"No ASR by judge '{self.judge}' in these records.{hint}")
        allowed = ", ".join(evaluation["harmful_styles"])
        raise ConfigError(f"No ASR for style '{style}' in these records. Allowed: {allowed}.")

    def label(self, evaluation: dict[str, Any]) -> str:
        """What stands at its axis."""
        given = evaluation["harmful_styles"]
        only = self.style or (given[0] if len(given) == 1 else None)
        prompts = "mean of the prompt styles" if only is None else f"{only} prompts"
        return f"ASR %, {prompts}" if self.judge is None else f"ASR %, {prompts}, by {self.judge}"


PRIMARY = DrawnAsr()


def _judges(records: Sequence[RunRecord], style: str) -> list[str]:
    """Judges of the answers in that style."""
    before = asr_name(style, "")
    names = dict.fromkeys(name for run in records for arm in run.arms for name in arm.metrics)
    return [name.removeprefix(before) for name in names if name.startswith(before)]

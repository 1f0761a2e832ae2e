"""Judges: completions in, verdicts out; one file each."""

from ssah_exp.evaluation.judges.base import Judge, Verdict
from ssah_exp.evaluation.judges.keyword import KeywordJudge

__all__ = ["Judge", "KeywordJudge", "Verdict"]

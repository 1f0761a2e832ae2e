"""Judges: completions in, verdicts out; one file each."""

from ssah_exp.evaluation.judges.base import Judge, Judgement, Scale, Verdict
from ssah_exp.evaluation.judges.endpoint import EndpointJudge
from ssah_exp.evaluation.judges.guard import GuardJudge
from ssah_exp.evaluation.judges.harm import HarmJudge
from ssah_exp.evaluation.judges.harmbench import HarmBenchJudge
from ssah_exp.evaluation.judges.keyword import KeywordJudge
from ssah_exp.evaluation.judges.memory import judgements_folder

__all__ = [
    "EndpointJudge",
    "GuardJudge",
    "HarmBenchJudge",
    "HarmJudge",
    "Judge",
    "Judgement",
    "KeywordJudge",
    "Scale",
    "Verdict",
    "judgements_folder",
]

"""Judges: completions in, verdicts out; one file each.

Judges that hold a model of their own are imported when they are asked for: tables and the report
know verdicts, and need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssah_exp.evaluation.judges.base import Judge, Judgement, Scale, Verdict
from ssah_exp.evaluation.judges.by_refusal import ByRefusal
from ssah_exp.evaluation.judges.endpoint import EndpointJudge
from ssah_exp.evaluation.judges.harm import HarmJudge
from ssah_exp.evaluation.judges.keyword import KeywordJudge

if TYPE_CHECKING:
    from ssah_exp.evaluation.judges.guard import GuardJudge
    from ssah_exp.evaluation.judges.harmbench import HarmBenchJudge

__all__ = [
    "ByRefusal",
    "EndpointJudge",
    "GuardJudge",
    "HarmBenchJudge",
    "HarmJudge",
    "Judge",
    "Judgement",
    "KeywordJudge",
    "Scale",
    "Verdict",
]

_WITH_A_MODEL = {"GuardJudge": "guard", "HarmBenchJudge": "harmbench"}


def __getattr__(name: str) -> Any:
    """The judges that import torch (PEP 562)."""
    if name not in _WITH_A_MODEL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WITH_A_MODEL[name]}"), name)

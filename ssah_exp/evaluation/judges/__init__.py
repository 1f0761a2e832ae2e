"""Judges: completions in, verdicts out; one file each.

Judges that hold a model of their own are imported only when asked for: tables and the report use
verdicts, and need no torch.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssah_exp.config.build import build
from ssah_exp.evaluation.described import check_described
from ssah_exp.evaluation.judges.base import Judge, Judgement, Scale, Verdict
from ssah_exp.evaluation.judges.by_refusal import ByRefusal
from ssah_exp.evaluation.judges.endpoint import EndpointJudge
from ssah_exp.evaluation.judges.harm import HarmJudge
from ssah_exp.evaluation.judges.keyword import KeywordJudge
from ssah_exp.evaluation.judges.reader import ReaderJudge

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
    "ReaderJudge",
    "Scale",
    "Verdict",
    "judge_of",
]

_WITH_A_MODEL = {"GuardJudge": "guard", "HarmBenchJudge": "harmbench"}


def judge_of(node: Mapping[str, Any], where: str, root: Path) -> Judge:
    """Build a judge from a config, with what it said in earlier runs.

    Args:
        node: Part of the config, with its ``_target_``.
        where: The config key, for error messages.
        root: Folder below which judgements are kept.

    Raises:
        ConfigError: See :func:`ssah_exp.config.build.build`; or a plug-in's describes itself by
            something that no record can hold.
    """
    judge = build(node, where, Judge)
    check_described(judge, where)
    if isinstance(judge, HarmJudge):
        judge.config_key = where
        judge.keep_in(root)
    return judge


def __getattr__(name: str) -> Any:
    """The judges that import torch (PEP 562)."""
    if name not in _WITH_A_MODEL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WITH_A_MODEL[name]}"), name)

"""Checks of judges that need a folder or an endpoint, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Class of ssah_exp.evaluation.judges -> what only a user can know.
_REQUIRED = {
    "EndpointJudge": ("base_url", "model"),
    "GuardJudge": ("path",),
    "HarmBenchJudge": ("path",),
}


def judge_problems(judges: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Complain about every judge that lacks what it cannot work without."""
    for name, node in judges.items():
        where = f"evaluation.judges.{name}"
        kind = str(node.get("_target_", "")).rpartition(".")[2]
        for key in _REQUIRED.get(kind, ()):
            if not node.get(key):
                yield f"{where}.{key} is missing; give it as {where}.{key}=VALUE."

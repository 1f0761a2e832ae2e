"""Nested values as dotted keys and short texts, and what many runs have in common."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ssah_exp.records.dotted import dotted
from ssah_exp.records.record import RunRecord

# What may explain a difference between two runs, in the order a reader looks for it.
PARTS = ("config", "data", "inputs", "models", "judges", "calibration", "provenance")


def flat(record: RunRecord) -> dict[str, str]:
    """Everything that a run was made of, by dotted key. No completions, no metrics."""
    whole = {part: getattr(record, part) for part in PARTS}
    return {
        **{key: _text(value) for key, value in dotted(whole, into=_of_parts)},
        "status": record.status,
        "template_hash": record.template_hash,
        "started": record.started,
        "finished": record.finished,
    }


def _of_parts(items: list[Any]) -> bool:
    """Whether a list holds more than plain values, which stand side by side in a leaf."""
    return any(isinstance(item, dict | list) for item in items)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shared(runs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The most frequent value of every key; of equally frequent ones, the first."""
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        for key, value in run.items():
            counts.setdefault(key, Counter())[value] += 1
    return {key: counter.most_common(1)[0][0] for key, counter in counts.items()}


def own(run: Mapping[str, str], common: Mapping[str, str]) -> dict[str, str]:
    """Where one run differs from ``common``."""
    return {key: value for key, value in run.items() if common.get(key) != value}


def lacking(run: Mapping[str, str], common: Mapping[str, str]) -> tuple[int, ...]:
    """Places in ``common`` of the keys that one run does not have."""
    return tuple(at for at, key in enumerate(common) if key not in run)

"""Nested values as dotted keys and short texts, and what many runs have in common."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ssah_exp.records.record import RunRecord

# What may explain a difference between two runs, in the order a reader looks for it.
PARTS = ("config", "data", "inputs", "models", "judges", "calibration", "provenance")


def flat(record: RunRecord) -> dict[str, str]:
    """Everything that a run was made of, by dotted key. No completions, no metrics."""
    whole = {part: getattr(record, part) for part in PARTS}
    return {
        **dict(_leaves(whole, "")),
        "status": record.status,
        "template_hash": record.template_hash,
        "started": record.started,
        "finished": record.finished,
    }


def _leaves(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{where}.{number}")
    else:
        yield where, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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

"""Ours beside the paper's, for tests: every pair of a record, one of them, a changed record."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.beside_paper.pair import Pair
from ssah_exp.reporting.beside_paper.table import pairs_of
from ssah_exp.reporting.rows import blocks


def pairs(made: RunRecord) -> list[Pair]:
    (block,) = blocks([made])
    return pairs_of(block)


def pair(made: RunRecord, arm: str, metric: str, source: str) -> Pair:
    keys = [item for item in pairs(made) if (item.arm, item.metric) == (arm, metric)]
    (found,) = [item for item in keys if item.source.startswith(source)]
    return found


def changed(made: RunRecord, change: Callable[[dict[str, Any]], None]) -> RunRecord:
    config = deepcopy(made.config)
    change(config)
    return replace(made, config=config)

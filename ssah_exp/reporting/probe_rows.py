"""The probe's curves as rows, and which way they point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.probe.curves import Curve
from ssah_exp.evaluation.probe.names import BENIGN, MALICIOUS
from ssah_exp.records.record import ArmRecord, RunRecord

_COLUMNS = ["arm", "curve", "block", "value", "low", "high", "p_holm", "n", "unit", "method"]


@dataclass(frozen=True)
class Shorter:
    """In how many blocks each distance is the shorter one.

    Attributes:
        benign: Blocks in which the benign distance is shorter, at the level asked for.
        malicious: Blocks in which the malicious distance is.
        blocks: All blocks, undecided ones included.
    """

    benign: int
    malicious: int
    blocks: int


def depth_rows(record: RunRecord, names: Iterable[str] | None = None) -> pd.DataFrame:
    """One row per point of the record's curves, gaps left out.

    Args:
        record: A record of the probe.
        names: Curves to keep, in order; None = all.
    """
    rows: list[dict[str, Any]] = []
    for arm in record.arms:
        for name in arm.curves if names is None else names:
            if name in arm.curves:
                rows += _points(arm, name, arm.curves[name])
    return pd.DataFrame(rows, columns=_COLUMNS)


def _points(arm: ArmRecord, name: str, curve: Curve) -> Iterator[dict[str, Any]]:
    for depth, value in enumerate(curve.value):
        if value is not None:
            p = None if curve.p is None else curve.p[depth]
            ends = curve.low[depth], curve.high[depth]
            numbers = (depth, value, *ends, p, curve.n, curve.unit, curve.method)
            yield dict(zip(_COLUMNS, (arm.name, name, *numbers), strict=True))


def shorter(curve: Curve, level: float) -> Shorter:
    """Count the blocks whose difference benign - malicious is significantly below or above 0.

    Args:
        curve: A tested difference; without p-values no block counts.
        level: Largest adjusted p-value that counts as significant.
    """
    tested = curve.p or [None] * len(curve.value)
    signs = [
        value
        for value, p in zip(curve.value[1:], tested[1:], strict=True)
        if value is not None and p is not None and p <= level
    ]
    below = sum(value < 0 for value in signs)
    return Shorter(below, len(signs) - below, len(curve.value) - 1)


def direction(difference: Estimate) -> str:
    """Which distance is shorter over all blocks: ``benign``, ``malicious`` or ``neither``.

    ``neither`` if the interval holds 0, "" if there is none.
    """
    if difference.low is None or difference.high is None:
        return ""
    if difference.high < 0:
        return BENIGN
    return MALICIOUS if difference.low > 0 else "neither"

"""`ssah-exp bench check`: today's ratios against committed ones; times alone are not compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssah_exp.errors import StoreError
from ssah_exp.records.dotted import at

# Bench -> ratio -> (where its spread stands in the report, whether more is better).
WATCHED: dict[str, dict[str, tuple[str, bool]]] = {
    "identify": {
        "statistics/bare": ("ratios.statistics/bare", False),
        "published/statistics": ("ratios.published/statistics", True),
    },
    "generate": {
        "loop/batched": ("ratios.loop/batched", True),
        "ablated/batched": ("ratios.ablated/batched", False),
    },
    "train": {
        "compact/full tokens/s": ("ratios.compact/full.tokens_per_second", True),
        "compact/full static memory": ("ratios.compact/full.static_memory", False),
        "freeze/full tokens/s": ("ratios.freeze/full.tokens_per_second", True),
    },
}
TOLERANCE = 0.10
# A time from a single round may be off by the whole tolerance; COUNTED ratios never vary.
LEAST_ROUNDS = 3
COUNTED = ("compact/full static memory",)


@dataclass(frozen=True)
class RatioChange:
    """One ratio.

    Attributes:
        name: Bench and ratio.
        before: Committed median.
        now: Median of this run.
        loss: Share by which it is worse; negative = better.
        rounds: Number of rounds behind the committed median.
        sure: Whether those are enough to let a check fail.
    """

    name: str
    before: float
    now: float
    loss: float
    rounds: int
    sure: bool

    @property
    def lost(self) -> bool:
        """Whether it lost more than the tolerance."""
        return self.loss > TOLERANCE

    @property
    def failed(self) -> bool:
        """Whether it lost more than the tolerance against a median that can be relied on."""
        return self.lost and self.sure


MeasuredRatios = Mapping[str, Mapping[str, float]]


def watched(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Median, range and number of rounds of a report's watched ratios.

    Raises:
        StoreError: The report lacks one of them.
    """
    found: dict[str, dict[str, float]] = {}
    for name, (place, _) in WATCHED[report["bench"]].items():
        value = at(report, place)
        if value is None:
            raise StoreError(f"bench {report['bench']} measured no {name}.")
        ends = {end: float(value[end]) for end in ("median", "low", "high")}
        found[name] = {**ends, "rounds": len(value["values"])}
    return found


def compare(bench: str, before: MeasuredRatios, now: MeasuredRatios) -> list[RatioChange]:
    """Every watched ratio of one bench, by its median over rounds.

    Args:
        bench: A key of :data:`WATCHED`.
        before: Committed: what :func:`watched` returned then.
        now: What it returns now.

    Raises:
        StoreError: A watched ratio was never committed, so that nothing would be checked.
    """
    compared: list[RatioChange] = []
    for name, (_, more_is_better) in WATCHED[bench].items():
        if name not in before:
            raise StoreError(f"No committed ratio '{name}' of bench {bench}.")
        then, today = before[name]["median"], now[name]["median"]
        rounds = int(before[name]["rounds"])
        change = today / then - 1
        loss = -change if more_is_better else change
        sure = rounds >= LEAST_ROUNDS or name in COUNTED
        compared.append(RatioChange(f"{bench} {name}", then, today, loss, rounds, sure))
    return compared

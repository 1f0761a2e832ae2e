"""Names of MT-bench's metrics; tables read them, so nothing heavy is imported here."""

from __future__ import annotations

TURNS = 2
TURN_NAMES = tuple(f"mt_bench/turn{turn}" for turn in range(1, TURNS + 1))
MT_MEAN, MT_COVERAGE = "mt_bench/mean", "mt_bench/coverage"

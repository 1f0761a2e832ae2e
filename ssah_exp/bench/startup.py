"""`ssah-exp bench startup`: the small commands, and new classes for a scored model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ssah_exp.bench.rounds import about, median_range, timed_rounds
from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.models.sizes import Anatomy
from ssah_exp.units.classes import classify
from ssah_exp.units.index import UnitIndex

LLAMA_2_7B = Anatomy.llama(layers=32, hidden=4096, neurons=11008, heads=32)
# Seconds that each is to stay below.
REACH = {"help": 1.0, "compose": 3.0, "classify": 1.0}


def bench_startup(repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Time ``--help`` and ``run --cfg job`` in fresh processes, and classifying Llama-2-7B's units.

    Args:
        repeats: Rounds.
        say: Takes a line of progress.
    """
    index = UnitIndex(LLAMA_2_7B)
    safety, utility = np.random.default_rng(0).lognormal(size=(2, LLAMA_2_7B.units))
    arms: dict[str, Callable[[], object]] = {
        "help": _command("--help"),
        "compose": _command("run", "--cfg", "job"),
        "classify": lambda: classify(safety, utility, index.parameters, BudgetsConfig()),
    }
    seconds = timed_rounds(arms, repeats, "cpu", say)
    return {
        **about("startup", {"repeats": repeats, "units": LLAMA_2_7B.units}, None),
        "seconds": {arm: median_range(values) for arm, values in seconds.items()},
        "reach": REACH,
    }


def _command(*arguments: str) -> Callable[[], object]:
    """Call the console command in a fresh process."""
    line = [sys.executable, "-m", "ssah_exp", *arguments]
    return lambda: subprocess.run(line, check=True, capture_output=True)  # noqa: S603

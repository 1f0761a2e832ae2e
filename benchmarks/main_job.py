"""Times of the main job's small commands, each the best of three, as JSON.

    python benchmarks/main_job.py

The quickstart itself is timed by running it: ``time make quickstart``, twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.models.anatomy import Anatomy
from ssah_exp.records.provenance import hardware
from ssah_exp.units.classes import classify
from ssah_exp.units.index import UnitIndex

LLAMA_2_7B = Anatomy(
    family="llama",
    layers=32,
    heads=32,
    kv_heads=32,
    head_dim=128,
    neurons=11008,
    hidden=4096,
    head_parameters=4 * 4096 * 128,
    neuron_parameters=3 * 4096,
)


def best_of_three(action: Callable[[], object]) -> float:
    """Seconds of the fastest of three calls."""
    times: list[float] = []
    for _ in range(3):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return round(min(times), 3)


def command(*arguments: str) -> Callable[[], object]:
    """Call the console command in a fresh process."""
    line = [sys.executable, "-m", "ssah_exp", *arguments]
    return lambda: subprocess.run(line, check=True, capture_output=True)  # noqa: S603


def main() -> None:
    """Measure and print."""
    index = UnitIndex(LLAMA_2_7B)
    generator = np.random.default_rng(0)
    safety, utility = generator.lognormal(size=(2, LLAMA_2_7B.units))
    budgets = BudgetsConfig()
    seconds = {
        "ssah-exp --help": best_of_three(command("--help")),
        "ssah-exp run --cfg job": best_of_three(command("run", "--cfg", "job")),
        f"classify {LLAMA_2_7B.units} units": best_of_three(
            lambda: classify(safety, utility, index.parameters, budgets)
        ),
    }
    print(json.dumps({"seconds": seconds, "hardware": hardware()}, indent=1))


if __name__ == "__main__":
    main()

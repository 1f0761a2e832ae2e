"""Records for tests of the report: two kinds of artefact, seeds, a sweep, curves, a gap, an inf."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.records.record import ArmRecord, RunRecord
from tests.records.synthetic import arms, record, trained_arms, training_record

HOSTILE = "</script><img src=https://example.org/x onerror=alert(1)>&"
PROOF = {
    "changed_weights": 1234567,
    "changeable_weights": 1234568,
    "frozen_weights": 7654321,
    "frozen_sha256": "ab" * 32,
}


def pruned(number: int, seed: int = 0, shift: float = 0.0, **budgets: float) -> RunRecord:
    """A run of Table 1."""
    made = record(seed, run_id=f"aa{number:010x}", arms=arms(shift), finished=_day(number))
    made.config["units"]["budgets"].update(budgets)
    return made


def trained(number: int, seed: int = 0, shift: float = 0.0, rate: float = 2e-5) -> RunRecord:
    """A run of Table 2, with loss curves and certificates."""
    made = [_with_training(arm, seed) for arm in trained_arms(shift)]
    run = training_record(seed, run_id=f"bb{number:010x}", arms=made, finished=_day(number))
    run.config["training"]["learning_rate"] = rate
    return run


def records() -> list[RunRecord]:
    """Seven runs."""
    lost = pruned(5, scu=0.05)
    gap = Estimate(None, None, None, 0, "prompts", "nothing scored")
    endless = Estimate(math.inf, None, None, 3, "windows", "bootstrap")
    changed = {"asr/mean/wei2024": gap, "perplexity": endless}
    lost.arms[2] = replace(lost.arms[2], metrics={**lost.arms[2].metrics, **changed})
    hostile = pruned(6, scu=0.02)
    hostile.config["model"]["name"] = HOSTILE
    return [
        *(pruned(number, seed=number, shift=0.03 * number) for number in range(3)),
        trained(3, 0),
        trained(4, 1, 0.05),
        lost,
        hostile,
    ]


def many(count: int) -> list[RunRecord]:
    """As many runs, five seeds a setting."""
    made: list[RunRecord] = []
    for number in range(count):
        seed, setting, shift = number % 5, number // 5, (number % 97) / 1000
        if setting % 2:
            made.append(trained(number, seed, shift, rate=1e-5 * (1 + setting)))
        else:
            made.append(pruned(number, seed, shift, scu=round(0.001 * (1 + setting), 4)))
    return made


def copies(made: list[RunRecord], count: int) -> list[RunRecord]:
    """As many runs: these, and then these over again as runs on other data."""
    found: list[RunRecord] = []
    for number in range(count):
        again, at = divmod(number, len(made))
        run = made[at]
        if again:
            data = {**run.config["data"], "name": f"{run.config['data']['name']}_{again}"}
            run = replace(run, run_id=f"{number:012x}", config={**run.config, "data": data})
        found.append(run)
    return found


def _with_training(arm: ArmRecord, seed: int) -> ArmRecord:
    if arm.training is None:
        return arm
    losses = [2.0 - 0.01 * step - 0.1 * seed for step in range(30)]
    training: dict[str, Any] = {**arm.training, "policy": "freeze", "losses": losses}
    return replace(arm, training={**training, "certificate": deepcopy(PROOF)})


def _day(number: int) -> str:
    return f"2026-{1 + number // 600:02d}-{1 + number // 24 % 25:02d}T{number % 24:02d}:00:00+00:00"

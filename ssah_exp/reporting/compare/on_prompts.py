"""What two arms came to on the same prompts, questions or text windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssah_exp.evaluation.paired_tests import Values
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.arm_groups import Group
from ssah_exp.reporting.compare.metrics import Metric, numbers_asked, questions_put, values_of


@dataclass(frozen=True)
class OnPrompts:
    """Two arms' values, prompt by prompt.

    Attributes:
        arm: ``(n,)``; NaN = not scored.
        against: The same prompts in the same order.
        same: Whether every seed put these prompts, so that values are means over seeds; else the
            prompts of the seeds stand one after the other.
    """

    arm: Values
    against: Values
    same: bool


def on_prompts(
    group: Group,
    reference: Group,
    metric: Metric,
    seeds: Sequence[int],
    records: Sequence[RunRecord],
) -> OnPrompts | None:
    """What two arms came to on each prompt.

    None if a record keeps no outcomes, or the arms were asked different questions on some seed.
    """
    if asked_otherwise(group, reference, metric, seeds):
        return None
    pairs = [
        (values_of(group.by_seed[seed], metric), values_of(reference.by_seed[seed], metric))
        for seed in seeds
    ]
    whole = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not whole or len(whole) < len(pairs):
        return None
    prints = {
        tuple(record.inputs.get(name) for name in metric.data)
        for record in records
        if record.seed in seeds
    }
    every = [arm for seed in seeds for arm in _arms(group, reference, seed)]
    same = len(prints) == 1 and _asked_alike(every, metric)
    arm, against = (_over_seeds(side, alike=same) for side in zip(*whole, strict=True))
    return OnPrompts(arm, against, same)


def asked_otherwise(group: Group, reference: Group, metric: Metric, seeds: Sequence[int]) -> bool:
    """Whether two arms were asked different questions of a task on some seed."""
    return not all(_asked_alike(_arms(group, reference, seed), metric) for seed in seeds)


def _arms(group: Group, reference: Group, seed: int) -> list[ArmRecord]:
    return [*group.by_seed[seed], *reference.by_seed[seed]]


def _asked_alike(arms: Sequence[ArmRecord], metric: Metric) -> bool:
    """Whether no arm is known to have been asked other questions than another.

    Records of earlier versions keep no hash of them; other numbers of questions are others, too.
    """
    return len(questions_put(arms, metric)) <= 1 and len(numbers_asked(arms, metric)) <= 1


def _over_seeds(values: Sequence[Values], *, alike: bool) -> Values:
    """Values averaged prompt by prompt if prompts are ``alike`` in every seed, else concatenated.

    Answers of several seeds to one prompt are not independent: counting each would make n, and
    with it every claim, larger than it is.
    """
    joined: Values = np.mean(values, axis=0) if alike else np.concatenate(values)
    return joined

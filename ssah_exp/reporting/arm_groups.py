"""Arms of one setting gathered over seeds and draws, and what each of them answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssah_exp.evaluation.judges import Verdict
from ssah_exp.evaluation.metrics import PERPLEXITY
from ssah_exp.evaluation.outcomes import MARKS, verdicts_name
from ssah_exp.evaluation.questions import BENIGN, BORDERLINE, HARMFUL
from ssah_exp.records.record import ArmRecord, RunRecord

Values = NDArray[np.float64]
MEAN = "mean"


@dataclass(frozen=True)
class Group:
    """One arm of a setting, or all draws of one of its controls.

    Attributes:
        label: For people.
        model: As in :class:`ArmRecord`.
        arm: Configured arm of a training table.
        unit_class: Ablated class.
        fill: What replaced it.
        control: Kind of control.
        by_seed: Seed -> its arm, or its draws.
    """

    label: str
    model: str
    arm: str | None
    unit_class: str | None
    fill: str | None
    control: str | None
    by_seed: dict[int, list[ArmRecord]]

    @property
    def dense(self) -> bool:
        """A whole model, neither ablated nor trained by an arm."""
        return self.arm is None and self.unit_class is None


@dataclass(frozen=True)
class Metric:
    """One thing that is compared.

    Attributes:
        name: As in the record.
        data: Input whose content hash says which prompts or which text it is over.
        sources: Keys of the verdicts it averages; none = window losses.
        counted: The verdict whose share it is.
    """

    name: str
    data: str
    sources: tuple[str, ...] = ()
    counted: Verdict = Verdict.COMPLIED


def groups_of(records: Sequence[RunRecord]) -> list[Group]:
    """In the order of the first record's arms."""
    found: dict[tuple[str | None, ...], Group] = {}
    for record in records:
        for arm in record.arms:
            key = (arm.model, arm.arm, arm.unit_class, arm.fill, arm.control)
            group = found.setdefault(key, Group(_label(arm), *_key_fields(arm), by_seed={}))
            group.by_seed.setdefault(record.seed, []).append(arm)
    return list(found.values())


def _key_fields(arm: ArmRecord) -> tuple[str, str | None, str | None, str | None, str | None]:
    return arm.model, arm.arm, arm.unit_class, arm.fill, arm.control


def _label(arm: ArmRecord) -> str:
    name = arm.arm or arm.unit_class or arm.model
    label = name if arm.fill is None else f"{name}/{arm.fill}"
    return label if arm.control is None else f"{arm.control} like {label}"


def references_of(
    group: Group, groups: Sequence[Group], records: Sequence[RunRecord]
) -> list[Group]:
    """What a group stands beside: its controls, the dense model, plain fine-tuning.

    An aligned model stands beside the unaligned one it was made from.
    """
    config = records[0].config
    dense: str | None = group.model
    if group.dense:
        dense = "unaligned" if group.model == "aligned" else None
    elif group.model == "trained":
        dense = config["training"]["start"]
    controls = [
        other
        for other in groups
        if group.control is None
        and other.control is not None
        and not group.dense
        and (other.arm, other.unit_class, other.fill) == (group.arm, group.unit_class, group.fill)
    ]
    plain = [
        other
        for other in groups
        if group.arm is not None
        and group.control is None
        and other is not group
        and _plain(other, config)
    ]
    return controls + plain + [other for other in groups if other.dense and other.model == dense]


def _plain(group: Group, config: dict[str, Any]) -> bool:
    """Whether it is fine-tuning of everything, without an adapter."""
    if group.arm is None or group.control is not None:
        return False
    arm = config["training"]["arms"][group.arm]
    return bool(arm["policy"] == "none" and arm["adapter"] is None)


def metrics_of(record: RunRecord, judge: str) -> Iterator[Metric]:
    """What a record's arms can be compared by."""
    evaluation = record.config["evaluation"]
    yield Metric(PERPLEXITY, "text")
    styles = evaluation["harmful_styles"]
    keys = [verdicts_name(HARMFUL, style, judge) for style in styles]
    for style, key in zip(styles, keys, strict=True):
        yield Metric(f"asr/{style}/{judge}", "harmful_eval", (key,))
    if len(styles) > 1:
        yield Metric(f"asr/{MEAN}/{judge}", "harmful_eval", tuple(keys))
    style = evaluation["benign_style"]
    for which in (BENIGN, BORDERLINE):
        key = verdicts_name(which, style, judge)
        name = f"{which}_refusal/{style}/{judge}"
        yield Metric(name, f"{which}_eval", (key,), Verdict.REFUSED)


def values_of(arms: Sequence[ArmRecord], metric: Metric) -> Values | None:
    """One value per prompt or window, averaged over draws and styles; NaN = not scored by all.

    Returns:
        ``(n,)``, or None if a record keeps no outcomes.
    """
    rows = [_values(arm, metric) for arm in arms]
    there = [row for row in rows if row is not None]
    if len(there) < len(rows) or not there:
        return None
    mean: Values = np.mean(there, axis=0)
    return mean


def _values(arm: ArmRecord, metric: Metric) -> Values | None:
    outcomes = arm.outcomes
    if outcomes is None:
        return None
    if not metric.sources:
        return np.asarray(outcomes.losses, dtype=np.float64) if outcomes.losses else None
    if not all(source in outcomes.verdicts for source in metric.sources):
        return None
    rows = [_shares(outcomes.verdicts[source], metric.counted) for source in metric.sources]
    mean: Values = np.mean(rows, axis=0)
    return mean


def _shares(verdicts: str, counted: Verdict) -> Values:
    """1 where the verdict is ``counted``, 0 where it is the other one, NaN where unscored."""
    meaning = {MARKS[verdict]: float(verdict is counted) for verdict in MARKS}
    meaning[MARKS[Verdict.UNSCORED]] = np.nan
    return np.array([meaning[mark] for mark in verdicts], dtype=np.float64)

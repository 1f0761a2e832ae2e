"""A record as flat values and as tables, the same for every tracker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ssah_exp.records.dotted import dotted
from ssah_exp.records.record import ArmRecord, RunRecord

Row = dict[str, Any]

_ARM_FIELDS = (
    "model",
    "unit_class",
    "fill",
    "control",
    "draw",
    "arm",
    "units",
    "unit_share",
    "parameter_share",
    "magnitude",
    "shift",
    "norm",
    "overlap",
)


def flat_metrics(record: RunRecord) -> dict[str, float | int]:
    """``arm/metric``, ``.../low``, ``.../high`` and ``.../n`` for everything measured.

    A gap is left out, never written as 0.
    """
    flat: dict[str, float | int] = {}
    for arm in record.arms:
        for name, estimate in arm.metrics.items():
            values = {"": estimate.value, "/low": estimate.low, "/high": estimate.high}
            for suffix, value in values.items():
                if value is not None:
                    flat[f"{arm.name}/{name}{suffix}"] = value
            flat[f"{arm.name}/{name}/n"] = estimate.n
    return flat


def flat_shares(record: RunRecord) -> dict[str, float]:
    """Counts and shares of every class, under names like ``classes/SCU/unit_share``."""
    return {
        f"classes/{name}/{key}": value
        for name, row in record.classes.items()
        for key, value in row.items()
    }


def tables(record: RunRecord) -> dict[str, list[Row]]:
    """Every table that has rows: ``estimates``, ``arms``, ``classes``, ``stages``, ``curves``."""
    made = {
        "estimates": list(_metric_rows(record)),
        "arms": [_arm_row(arm) for arm in record.arms],
        "classes": [{"class": name, **row} for name, row in record.classes.items()],
        "stages": [
            {
                "stage": item.name,
                "key": item.key,
                "cached": item.cached,
                "seconds": item.seconds,
                **item.cost,
            }
            for item in record.stages
        ],
        "curves": list(_curve_rows(record)),
    }
    return {name: rows for name, rows in made.items() if rows}


def key_rows(content: Mapping[str, Any]) -> list[Row]:
    """One row per dotted key, with its value as JSON."""
    return [{"key": key, "value": json.dumps(value)} for key, value in dotted(content)]


def columns_of(rows: list[Row]) -> list[str]:
    """Every key of the rows, in the order of first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def training_losses(record: RunRecord) -> dict[str, list[float]]:
    """Trained arm -> loss at every optimizer step; ``alignment`` stands for the alignment."""
    found: dict[str, Any] = {"alignment": (record.training or {}).get("losses")}
    found |= {arm.name: (arm.training or {}).get("losses") for arm in record.arms}
    return {name: losses for name, losses in found.items() if losses}


def about(record: RunRecord) -> Row:
    """What the record says beside config and metrics."""
    return {
        "status": record.status,
        "started": record.started,
        "finished": record.finished,
        "schema": record.schema,
        "models": record.models,
        "data": record.data,
        "template_hash": record.template_hash,
        "judges": record.judges,
        "attacks": record.attacks,
        "calibration": record.calibration,
        "statistics_agreement": record.statistics_agreement,
        "certificates": {
            arm.name: arm.training["certificate"]
            for arm in record.arms
            if arm.training and "certificate" in arm.training
        },
    }


def _metric_rows(record: RunRecord) -> Iterator[Row]:
    for arm in record.arms:
        for name, estimate in arm.metrics.items():
            yield {"arm": arm.name, "metric": name, **estimate.as_dict()}


def _arm_row(arm: ArmRecord) -> Row:
    shares = {f"class_shares/{name}": share for name, share in arm.class_shares.items()}
    return {"name": arm.name, **{key: getattr(arm, key) for key in _ARM_FIELDS}, **shares}


def _curve_rows(record: RunRecord) -> Iterator[Row]:
    for arm in record.arms:
        for name, curve in arm.curves.items():
            points = zip(curve.value, curve.low, curve.high, strict=True)
            for depth, (value, low, high) in enumerate(points):
                yield {
                    "arm": arm.name,
                    "curve": name,
                    "depth": depth,
                    "value": value,
                    "low": low,
                    "high": high,
                    "n": curve.n,
                }

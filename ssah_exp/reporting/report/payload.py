"""The data that the page's script reads: runs, their numbers as written in tables, their losses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ssah_exp.evaluation.metric_names import (
    EPOCHS,
    MEAN,
    PERPLEXITY,
    TRAIN_LOSS,
    TRAINED_SHARE,
    asr_name,
)
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.report.flat import flat, lacking, own, shared
from ssah_exp.reporting.text import estimate_text, heading_or_name, scale_of

MOST_POINTS = 200  # of a loss curve: as many as a picture can show
_FIRST = (PERPLEXITY, TRAIN_LOSS, TRAINED_SHARE, EPOCHS)


def payload(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Plain JSON values.

    Settings are written once: ``common`` holds the most frequent value of every key of any run, a
    run only what it has otherwise. Runs of one artefact lack the same of those keys, so that each
    set is written once, too: ``lacking`` holds places in ``common``, and a run's ``lacks`` is its
    place in ``lacking``. An arm's metrics are keyed by index into ``metrics``; each is ``[text,
    value, n]`` with the text of the tables and the value in the unit shown: null for a gap, text
    for infinity.
    """
    runs = [flat(record) for record in records]
    common = shared(runs)
    missing = [lacking(values, common) for values in runs]
    places = {found: at for at, found in enumerate(dict.fromkeys(missing))}
    names = _metric_names(records)
    index = {name: number for number, name in enumerate(names)}
    return {
        "common": common,
        "lacking": list(map(list, places)),
        "metrics": [{"name": name, "heading": heading_or_name(name)} for name in names],
        "runs": [
            {
                "id": record.run_id,
                "artefact": record.artefact,
                "seed": record.seed,
                "primary": index.get(primary_asr(record)),
                "own": own(values, common),
                "lacks": places[found],
                "arms": [_arm(arm, index) for arm in record.arms],
            }
            for record, values, found in zip(records, runs, missing, strict=True)
        ],
    }


def primary_asr(record: RunRecord) -> str:
    """The metric that a reader looks at first: mean ASR by the primary judge."""
    return asr_name(MEAN, record.config.get("evaluation", {}).get("primary_judge"))


def embedded(content: Any) -> str:
    """JSON that no HTML parser can read as anything else, for a script element.

    Raises:
        ValueError: NaN or infinity.
        TypeError: A value of a type that JSON does not have.
    """
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for mark in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def thinned(losses: Sequence[float]) -> list[tuple[int, float]]:
    """``(step, loss)`` from the first to the last step, evenly spaced, at most 200 of them."""
    if len(losses) <= MOST_POINTS:
        return list(enumerate(losses, 1))
    last = len(losses) - 1
    steps = sorted({round(at * last / (MOST_POINTS - 1)) for at in range(MOST_POINTS)})
    return [(step + 1, losses[step]) for step in steps]


def losses_of(training: dict[str, Any] | None) -> list[float]:
    """Loss of every step, where the arm noted it."""
    found = (training or {}).get("losses") or []
    return [float(value) for value in found]


def _arm(arm: ArmRecord, index: dict[str, int]) -> dict[str, Any]:
    curve = [[step, _short(loss)] for step, loss in thinned(losses_of(arm.training))]
    metrics = {
        str(index[name]): [
            estimate_text(item, name),
            None if item.value is None else _short(item.value * scale_of(name)),
            item.n,
        ]
        for name, item in arm.metrics.items()
    }
    return {"name": arm.name, "metrics": metrics, **({"losses": curve} if curve else {})}


def _short(value: float) -> float | str:
    """Five digits, which a picture or a difference needs; infinity as text, which JSON lacks."""
    number = float(f"{value:.5g}")
    return number if math.isfinite(number) else str(number)


def _metric_names(records: Iterable[RunRecord]) -> list[str]:
    names = {name for record in records for arm in record.arms for name in arm.metrics}
    first = [name for name in sorted(names) if name.startswith(asr_name(MEAN, ""))]
    first += [name for name in _FIRST if name in names]
    return [*first, *sorted(names - set(first))]

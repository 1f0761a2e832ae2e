"""The probe as a table: means over blocks, which distance is shorter, and in how many blocks."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.probe.names import (
    AUC_ALL,
    AUC_BORDERLINE,
    AUC_SHUFFLED,
    BENIGN,
    DIFFERENCE,
    ENDED,
    MALICIOUS,
    NULL_BENIGN,
    NULL_DIFFERENCE,
    NULL_MALICIOUS,
    REFUSED,
    SAME_TOKEN,
    SIDES,
    forms,
    step_name,
)
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.probe_rows import depth_rows, direction, shorter
from ssah_exp.reporting.settings import level_of, newest
from ssah_exp.reporting.text import (
    format_frame,
    interval_text,
    machine_text,
    percent_text,
    prose,
    rounded_text,
)

_PAPER = (
    "Published (Figures 2, 3, 4, 7; no numbers printed): in aligned models the benign distance is "
    "the shorter one, in unaligned models the malicious one."
)
_DIGITS = 4


def render_probe(records: Sequence[RunRecord], form: str) -> str:
    """Render every run among ``records``, the newest of each setting and seed.

    Args:
        records: Records of the probe.
        form: ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.
    """
    runs = newest(records)
    if form in ("csv", "json"):
        return machine_text(long_frame(runs), form)
    parts: list[str] = []
    for run in runs:
        frames = [format_frame(frame(run), form) for frame in (distance_frame, model_frame)]
        parts += [prose(_caption(run), form), *frames]
    return "\n\n".join([*parts, prose(_PAPER, form)])


def long_frame(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """One line per point of every curve.

    Columns: origin, run_id, model, data, seed, and those of
    :func:`~ssah_exp.reporting.probe_rows.depth_rows`.
    """
    frames = []
    for run in runs:
        rows = depth_rows(run)
        rows.insert(0, "seed", run.seed)
        rows.insert(0, "data", run.config["data"]["name"])
        rows.insert(0, "model", run.config["model"]["name"])
        rows.insert(0, "run_id", run.run_id)
        rows.insert(0, "origin", "measured")
        frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def distance_frame(run: RunRecord) -> pd.DataFrame:
    """One line per model, form of the distance and number of tokens."""
    steps = run.config["probe"]["steps"]
    return pd.DataFrame(
        [
            _distance_line(arm, form, step, run.config["evaluation"]["confidence"])
            for form in forms(run.config["probe"]["distances"])
            for arm in run.arms
            for step in steps
        ]
    )


def _distance_line(arm: ArmRecord, form: str, step: int, confidence: float) -> dict[str, str]:
    difference = arm.measured(step_name(form, step, DIFFERENCE))
    means = {side: _value(arm.measured(step_name(form, step, side))) for side in SIDES}
    counted = shorter(arm.curves[step_name(form, step, DIFFERENCE)], 1 - confidence)
    return {
        "distance": form.replace("/", ", ").replace("_", "-"),
        "model": arm.name,
        "tokens": str(step),
        "n": str(difference.n),
        "benign": means[BENIGN],
        "malicious": means[MALICIOUS],
        "twins of benign": means[NULL_BENIGN],
        "twins of malicious": means[NULL_MALICIOUS],
        "benign - malicious": rounded_text(difference, digits=_DIGITS),
        "twins' difference": rounded_text(
            arm.measured(step_name(form, step, NULL_DIFFERENCE)), digits=_DIGITS
        ),
        "shorter": direction(difference),
        "blocks: benign / malicious": f"{counted.benign} / {counted.malicious} of {counted.blocks}",
    }


def model_frame(run: RunRecord) -> pd.DataFrame:
    """One line per model: how its continuations turn out, and whether a linear probe sees harm."""
    return pd.DataFrame([_model_line(arm, run) for arm in run.arms])


def _model_line(arm: ArmRecord, run: RunRecord) -> dict[str, str]:
    judge, last = run.config["evaluation"]["primary_judge"], run.config["probe"]["steps"][-1]
    line = {
        "model": arm.name,
        "refused %": percent_text(arm.measured(f"{REFUSED}/{judge}")),
        f"over within {last} %": percent_text(arm.measured(step_name(ENDED, last, "bare"))),
    }
    for side in (BENIGN, MALICIOUS):
        same = arm.measured(step_name(SAME_TOKEN, last, side))
        line[f"same token as {side} %"] = percent_text(same)
    for name, title in (
        (AUC_ALL, "harmless"),
        (AUC_BORDERLINE, "borderline"),
        (AUC_SHUFFLED, "shuffled labels"),
    ):
        if name in arm.curves:
            values = [value for value in arm.curves[name].value[1:] if value is not None]
            line[f"AUC, {title}: mean [range] over blocks"] = (
                interval_text(fmean(values), min(values), max(values), 3) if values else ""
            )
    return line


def _caption(run: RunRecord) -> str:
    config = run.config
    probe = config["probe"]
    level = level_of(run)
    follows = "its own greedy" if probe["continuation"] == "own" else "the bare request's greedy"
    return (
        f"{config['model']['name']}, data {config['data']['name']}, run {run.run_id}, seed "
        f"{run.seed}: {run.data['harmful_eval']} harmful requests as {probe['style']}, "
        f"{len(probe['benign'])} benign and {len(probe['malicious'])} malicious openings, each "
        f"with a random twin of equal length; every input goes on with {follows} tokens. Mean over "
        f"blocks, percentile bootstrap {level} over requests; "
        f"blocks counted by paired t test, Holm over blocks. Linear probe: harmful against "
        f"{run.data['benign_eval']} benign and {run.data['borderline_eval']} borderline requests, "
        f"{probe['folds']}-fold, at the last position of the request."
    )


def _value(estimate: Estimate) -> str:
    return "" if estimate.value is None else f"{estimate.value:.{_DIGITS}f}"

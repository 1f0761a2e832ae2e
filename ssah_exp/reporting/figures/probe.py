"""The probe as pictures: distances (Figs 2, 3), their gap (Figs 4, 7), the linear probe's AUC."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssah_exp.evaluation.probe.curves import Curve
from ssah_exp.evaluation.probe.names import (
    AUC_ALL,
    AUC_BORDERLINE,
    AUC_SHUFFLED,
    GAP,
    NULL_GAP,
    RAW,
    SIDES,
    forms,
    step_name,
)
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.figures.drawing import (
    COLUMN,
    GREY,
    MODEL_COLOURS,
    PAGE,
    SIDE_COLOURS,
    new_figure,
    numbered,
    save_figure,
    styled,
)
from ssah_exp.reporting.figures.legends import legend_beside
from ssah_exp.reporting.probe_rows import depth_rows
from ssah_exp.reporting.settings import level_of, newest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_HEIGHT, _EXTRA_HEIGHT = 1.25, 0.75  # inches
_DASHED = (0, (2.5, 1.5))
_TWIN: dict[str, Any] = {"band": False, "linestyle": _DASHED, "linewidth": 0.8}
_BLOCK = "block (0 = embedding)"


def draw_probe(records: Sequence[RunRecord], path: Path) -> list[tuple[Path, RunRecord]]:
    """Draw every run, the newest of each setting and seed; the names of several have numbers.

    Args:
        records: Records of the probe.
        path: Where to write; the suffix decides the format. The first distance goes there; a word
            is added to the name for each further distance (``-l2``), for ``-gap`` and for ``-auc``.

    Returns:
        Every picture with the run it shows; beside each lies a CSV.

    Raises:
        ConfigError: A suffix that cannot be written.
    """
    runs = newest(records)
    wrote: list[tuple[Path, RunRecord]] = []
    for run, place in zip(runs, numbered(path, len(runs)), strict=True):
        for at, distance in enumerate(run.config["probe"]["distances"]):
            stem = place.stem if at == 0 else f"{place.stem}-{distance}"
            mine = forms([distance])
            wrote.append((_distances(run, mine, place.with_stem(stem)), run))
            wrote.append((_gaps(run, mine, place.with_stem(f"{stem}-gap")), run))
        wrote.append((_separability(run, place.with_stem(f"{place.stem}-auc")), run))
    return wrote


@styled()
def _distances(run: RunRecord, forms_drawn: Sequence[str], path: Path) -> Path:
    """Rows: forms and models; columns: tokens. Random twins of equal length are dashed."""
    steps = run.config["probe"]["steps"]
    rows = list(product(forms_drawn, run.arms))
    figure, panels = _grid(len(rows), len(steps))
    for row, (form, arm) in enumerate(rows):
        for column, step in enumerate(steps):
            axes = panels[row, column]
            for side in SIDES:
                kind, null = side.removeprefix("null_"), side.startswith("null_")
                label = f"{'random twins of ' if null else '+ '}{kind}{'' if null else ' opening'}"
                curve = arm.curves[step_name(form, step, side)]
                _line(axes, curve, SIDE_COLOURS[kind], label, **(_TWIN if null else {}))
        panels[row, 0].set_ylabel(f"{_form_label(form)}\n{arm.name}")
    _finish(run, figure, panels, "distance to the bare request's continuation")
    save_figure(figure, path, _numbers(run, _names(forms_drawn, steps, SIDES)))
    return path


@styled()
def _gaps(run: RunRecord, forms_drawn: Sequence[str], path: Path) -> Path:
    """Rows: forms; columns: tokens; both models in each panel, their twins dashed."""
    steps = run.config["probe"]["steps"]
    figure, panels = _grid(len(forms_drawn), len(steps))
    for row, form in enumerate(forms_drawn):
        for column, step in enumerate(steps):
            for arm in run.arms:
                colour = MODEL_COLOURS[arm.name]
                gap, null = (arm.curves[step_name(form, step, what)] for what in (GAP, NULL_GAP))
                _line(panels[row, column], gap, colour, arm.name)
                _line(panels[row, column], null, colour, f"{arm.name}, random twins", **_TWIN)
        panels[row, 0].set_ylabel(_form_label(form))
        panels[row, 0].set_ylim(bottom=0)
    window = run.config["probe"]["smoothing"]
    _finish(run, figure, panels, f"|benign - malicious|, moving average over {window} blocks")
    save_figure(figure, path, _numbers(run, _names(forms_drawn, steps, (GAP, NULL_GAP))))
    return path


@styled()
def _separability(run: RunRecord, path: Path) -> Path:
    figure = new_figure(COLUMN * 1.45, 2.4)
    axes = figure.subplots()
    for arm in run.arms:
        colour = MODEL_COLOURS[arm.name]
        _line(axes, arm.curves[AUC_ALL], colour, f"{arm.name}, all harmless")
        if AUC_BORDERLINE in arm.curves:
            label = f"{arm.name}, borderline only"
            _line(axes, arm.curves[AUC_BORDERLINE], colour, label, band=False, linestyle=_DASHED)
    last = run.arms[-1]
    shuffles = run.config["probe"]["shuffles"]
    _line(axes, last.curves[AUC_SHUFFLED], GREY, f"{last.name}, {shuffles} shuffles (range)")
    axes.set_xlabel(_BLOCK)
    axes.set_ylabel("held-out AUC, harmful requests")
    axes.set_ylim(bottom=min(0.3, axes.get_ylim()[0]))
    legend_beside(axes)
    save_figure(figure, path, _numbers(run, [AUC_ALL, AUC_BORDERLINE, AUC_SHUFFLED]))
    return path


def _names(forms_drawn: Sequence[str], steps: Sequence[int], what: Sequence[str]) -> list[str]:
    return [step_name(*parts) for parts in product(forms_drawn, steps, what)]


def _numbers(run: RunRecord, names: Sequence[str]) -> pd.DataFrame:
    """The numbers drawn; how intervals were made stands in the record and in the table."""
    return depth_rows(run, names).drop(columns=["p_holm", "unit", "method"])


def _grid(rows: int, columns: int) -> tuple[Figure, Any]:
    """Panels that share x, and y along a row."""
    figure = new_figure(PAGE, _EXTRA_HEIGHT + _PANEL_HEIGHT * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey="row", squeeze=False)
    return figure, panels


def _finish(run: RunRecord, figure: Figure, panels: Any, title: str) -> None:
    """Headings, one legend above all panels, one label below."""
    config, level = run.config, level_of(run)
    of = f"{config['model']['name']}, {config['data']['name']}, seed {run.seed}"
    for axes, step in zip(panels[0], config["probe"]["steps"], strict=True):
        axes.set_title(f"{step} tokens")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=len(labels),
        title=f"{of}: {title}; {level} bands",
    )
    figure.supxlabel(_BLOCK, fontsize=panels[0, 0].xaxis.label.get_size())


def _line(
    axes: Axes, curve: Curve, colour: str, label: str, *, band: bool = True, **look: Any
) -> None:
    """A curve with its interval as a band; gaps stay gaps."""
    value, low, high = (
        np.array(side, dtype=float) for side in (curve.value, curve.low, curve.high)
    )
    depth = np.arange(len(value))
    axes.plot(depth, value, color=colour, label=label, **look)
    if band:
        axes.fill_between(depth, low, high, color=colour, alpha=0.2, linewidth=0)


def _form_label(form: str) -> str:
    distance, variant = form.split("/")
    return distance if variant == RAW else f"{distance}, content-free"

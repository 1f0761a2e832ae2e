"""Which table and which figures each artefact has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssah_exp.config.artefacts import PROBE, TABLE1, TRAINING_ARTEFACTS
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.drawn_asr import DrawnAsr
from ssah_exp.reporting.figures.drawing import check_picture, numbered
from ssah_exp.reporting.figures.loss import asr_against_loss, loss_points
from ssah_exp.reporting.figures.null import draw_null, null_rows
from ssah_exp.reporting.figures.probe import draw_probe
from ssah_exp.reporting.probe_table import render_probe
from ssah_exp.reporting.settings import settings_of
from ssah_exp.reporting.table1 import render_pruning
from ssah_exp.reporting.training_table import render_training

Renderer = Callable[[Sequence[RunRecord], str], str]
RENDERERS: dict[str, Renderer] = {
    TABLE1: render_pruning,
    **dict.fromkeys(TRAINING_ARTEFACTS, render_training),
    PROBE: render_probe,
}


NumbersOfSetting = Callable[[Sequence[RunRecord], DrawnAsr], object]
DrawSetting = Callable[[Sequence[RunRecord], Path, DrawnAsr], object]
Drawn = list[tuple[Path, Sequence[RunRecord]]]  # pictures, each with the runs it shows
Draw = Callable[[Sequence[RunRecord], Path, DrawnAsr], Drawn]


@dataclass(frozen=True)
class Figures:
    """The pictures of an artefact.

    Attributes:
        draw: Draws from records to a path, by which ASR; returns the pictures with their runs.
        out: File name unless another one is given.
    """

    draw: Draw
    out: str


def render_artefact(records: Sequence[RunRecord], form: str) -> str:
    """The table of the records' artefact.

    Args:
        records: At least one, all of one artefact.
        form: ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.

    Raises:
        StoreError: There are none.
    """
    if not records:
        raise StoreError("There are no records to print.")
    return RENDERERS[records[0].artefact](records, form)


def _each_setting(numbers: NumbersOfSetting, draw: DrawSetting) -> Draw:
    """Draw every setting among the records; the files of several get a number each.

    Nothing is drawn unless ``numbers`` can be had of every setting.
    """

    def draw_all(records: Sequence[RunRecord], path: Path, asr: DrawnAsr) -> Drawn:
        settings = settings_of(records)
        pictures: Drawn = list(zip(numbered(path, len(settings)), settings, strict=True))
        for place, runs in pictures:
            numbers(runs, asr)
            check_picture(place)
        for place, runs in pictures:
            draw(runs, place, asr)
        return pictures

    return draw_all


def _draw_probe(records: Sequence[RunRecord], path: Path, asr: DrawnAsr) -> Drawn:
    if asr.style is not None:
        raise ConfigError("--style has no effect on the probe: a run has one prompt style.")
    if asr.judge is not None:
        raise ConfigError("--judge has no effect on the probe: it draws no verdicts.")
    return [(place, [run]) for place, run in draw_probe(records, path)]


FIGURES: dict[str, Figures] = {
    TABLE1: Figures(_each_setting(null_rows, draw_null), "classes_and_controls.png"),
    **dict.fromkeys(
        TRAINING_ARTEFACTS,
        Figures(_each_setting(loss_points, asr_against_loss), "asr_against_loss.png"),
    ),
    PROBE: Figures(_draw_probe, "probe.svg"),
}

"""`ssah-exp figure`: a picture from the records of an artefact."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from ssah_exp.config.paths import runs_root
from ssah_exp.config.validate import TABLE1, TRAINING_ARTEFACTS
from ssah_exp.errors import ConfigError, StoreError, did_you_mean
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore, read_folder
from ssah_exp.reporting.figures import asr_against_loss
from ssah_exp.reporting.null_figure import draw_null
from ssah_exp.reporting.rows import blocks

# Which picture an artefact has, and what its file is called if nobody names it.
_FIGURES: dict[str, tuple[Callable[..., object], str]] = {
    TABLE1: (draw_null, "classes_and_controls.png"),
    **dict.fromkeys(TRAINING_ARTEFACTS, (asr_against_loss, "asr_against_loss.png")),
}


def execute(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Draw every setting of the artefact; several get a number each.

    Raises:
        ConfigError: Unknown artefact.
        StoreError: There is no record of it.
    """
    if options.artefact not in _FIGURES:
        raise ConfigError(
            f"No figure of '{options.artefact}'.{did_you_mean(options.artefact, _FIGURES)}"
        )
    if options.records is not None and options.root is not None:
        raise ConfigError("--records and --root both say where records lie; give one.")
    draw, name = _FIGURES[options.artefact]
    settings = blocks(_records(options))
    out = Path(options.out or name)
    for number, block in enumerate(settings):
        path = out if len(settings) == 1 else out.with_stem(f"{out.stem}-{number}")
        draw(block.records, path, options.style)
        print(f"wrote {path}")
    return 0


def _records(options: argparse.Namespace) -> list[RunRecord]:
    if options.records is not None:
        place = Path(options.records)
        found = [item for item in read_folder(place) if item.artefact == options.artefact]
    else:
        place = Path(options.root) if options.root else runs_root()
        found = RecordStore(place).read(options.artefact)
    if not found:
        raise StoreError(f"No record of {options.artefact} below {place}.")
    return found

"""`ssah-exp figure`: a picture from the records of an artefact."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.config.paths import runs_root
from ssah_exp.config.validate import TRAINING_ARTEFACTS
from ssah_exp.errors import ConfigError, StoreError, did_you_mean
from ssah_exp.records.store import RecordStore
from ssah_exp.reporting.figures import asr_against_loss
from ssah_exp.reporting.rows import blocks


def execute(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Draw every setting of the artefact; several get a number each.

    Raises:
        ConfigError: Unknown artefact.
        StoreError: There is no record of it.
    """
    if options.artefact not in TRAINING_ARTEFACTS:
        raise ConfigError(
            f"No figure of '{options.artefact}'."
            f"{did_you_mean(options.artefact, TRAINING_ARTEFACTS)}"
        )
    root = Path(options.root) if options.root else runs_root()
    settings = blocks(RecordStore(root).read(options.artefact))
    if not settings:
        raise StoreError(f"No record of {options.artefact} below {root}.")
    out = Path(options.out)
    for number, block in enumerate(settings):
        path = out if len(settings) == 1 else out.with_stem(f"{out.stem}-{number}")
        asr_against_loss(block.records, path, options.style)
        print(f"wrote {path}")
    return 0

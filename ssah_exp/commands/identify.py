"""`ssah-exp units identify`: another model's units on the calibration examples of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssah_exp.commands.reopened import reopened
from ssah_exp.storage import refuse_existing, whole_folder


def execute(options: argparse.Namespace) -> int:
    """Score and classify a model as the run did its own; only OUT is written.

    Raises:
        StoreError: OUT exists, or there is no such run.
        ModelError: There is no such model.
    """
    out = Path(options.out)
    refuse_existing(out)
    run = reopened(options)
    ref = run.model(options.model)
    units = run.unit_map(ref, run.identify(ref))
    with whole_folder(out) as work:
        units.save(work)
    print(f"wrote {out}")
    return 0

"""`ssah-exp export`: an arm of a finished run as a folder that any program loads."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssah_exp.pipeline.exporting import export_arm


def execute(options: argparse.Namespace) -> int:
    """Write the folder.

    Raises:
        ConfigError: No such arm, or an override is wrong.
        StoreError: No record, its cache entries are gone or damaged, or the folder exists.
        ModelError: The arm cannot be a plain folder, or its weights are not the certified ones.
        UnitError: The units do not fit the model.
    """
    out = Path(options.out)
    export_arm(Path(options.run), options.arm, out, options.set)
    print(f"wrote {out}")
    return 0

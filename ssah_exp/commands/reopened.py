"""The run a command was pointed at, with its model and calibration examples."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.reopening import Reopened, reopen


def reopened(options: argparse.Namespace) -> Reopened:
    """The run at ``path`` with its calibration examples; ``--set`` gives what records leave out.

    Raises:
        SsahError: The run's model or data cannot be had again.
    """
    console = Console(stderr=True)
    reporter = Reporter(console, bars=console.is_terminal)
    return reopen(Path(options.path), options.set, reporter)

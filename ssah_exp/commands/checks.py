"""What can be said of options before a model is loaded."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssah_exp.config.ranges import at_least, refuse
from ssah_exp.reporting.drawing import check_picture


def check_draws(options: argparse.Namespace, draws: str, least: int, *more: str) -> None:
    """Refuse numbers of draws, seeds and pictures that cannot be.

    Args:
        options: With ``seed`` and ``figure``.
        draws: Name of the option that says how many draws.
        least: Of them.
        more: What else is wrong.

    Raises:
        ConfigError: Lists what is wrong.
    """
    refuse(
        [
            *at_least(f"--{draws}", getattr(options, draws), least),
            *at_least("--seed", options.seed, 0),
            *more,
        ]
    )
    if options.figure is not None:
        check_picture(Path(options.figure))

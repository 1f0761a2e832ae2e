"""`ssah-exp units noise`: how much of a transfer happens without any training."""

from __future__ import annotations

import argparse

import pandas as pd
from rich.table import Table

from ssah_exp.commands.reopened import reopened
from ssah_exp.commands.units import check_draws, drawn, spread_cell, tell_written
from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.reporting.figures.noise import draw_noise
from ssah_exp.reporting.terminal import Terminal, terminal_table
from ssah_exp.reporting.text import machine_text
from ssah_exp.reporting.transfer_rows import noise_rows
from ssah_exp.units.agreement import Spread
from ssah_exp.units.noise import transfer_noise


def execute(options: argparse.Namespace) -> int:
    """Print transfer between a run's model and another beside the null; write only ``--figure``.

    Raises:
        SsahError: The run's model or data cannot be had again, or there is no such model.
    """
    check_draws(options, "resamples", 2)
    run = reopened(options)
    first, second = run.identified_model(), run.model(options.model)  # before the first pass
    before, after = (run.identify(ref, keep_examples=True) for ref in (first, second))
    found = transfer_noise(
        before, after, run.config.units, resamples=options.resamples, seed=options.seed
    )
    rows, text = noise_rows(found), options.format not in ("csv", "json")
    if text:
        Terminal().print(_table(rows))
    else:
        print(machine_text(rows, options.format))
    # Last: a disk that will not take it must not cost what was found.
    wrote = drawn(options, lambda picture: draw_noise(found, picture))
    if text:
        tell_written(wrote)
    return 0


def _table(rows: pd.DataFrame) -> Table:
    table = terminal_table(
        "% of the class before: mean [95% of draws]; redrawn and halves hold no training",
        ("comparison", "from \\ to"),
        CLASSES,
    )
    for (name, before), group in rows.groupby(["comparison", "from"], sort=False):
        cells = [_cell(row) for _, row in group.iterrows()]
        table.add_row(str(name), str(before), *cells)
    return table


def _cell(row: pd.Series) -> str:
    spread = Spread(*(row[f"of_before_{end}"] for end in ("mean", "low", "high")))
    return spread_cell(spread, 1)

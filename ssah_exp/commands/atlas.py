"""`ssah-exp units atlas`: how far classes depend on how they were calibrated."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from ssah_exp.commands.reopened import reopened
from ssah_exp.commands.units import check_draws, drawn, spread_cell, tell_written, units_at
from ssah_exp.config.ranges import within
from ssah_exp.errors import printable
from ssah_exp.models.sizes import Anatomy
from ssah_exp.pipeline.atlas import Charted, chart
from ssah_exp.reporting.atlas_rows import setting_rows, settings_consensus
from ssah_exp.reporting.figures.atlas import draw_atlas
from ssah_exp.reporting.stability_rows import consensus_text
from ssah_exp.reporting.terminal import Terminal, terminal_table
from ssah_exp.reporting.text import machine_text, plain_rows
from ssah_exp.storage import refuse_existing, whole_folder
from ssah_exp.units.agreement import Spread
from ssah_exp.units.calibration_settings import SettingsAtlas
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.consensus import consensus_map
from ssah_exp.units.unitmap import UnitMap


def execute(options: argparse.Namespace) -> int:
    """Print the atlas of a run; save its consensus.

    Raises:
        StoreError: No run there, or the folder for the consensus exists.
        SsahError: The run's model or data cannot be had again, or a setting is wrong.
    """
    shares = within("--share", options.share, 0, 1, open_low=True)
    check_draws(options, "resamples", 2, *shares, of_units=True)
    out = None if options.consensus is None else Path(options.consensus)
    if out is not None:
        refuse_existing(out)
    stored = units_at(options.path)
    run = reopened(options)
    ref = run.identified_model()
    found = chart(run, ref, resamples=options.resamples, seed=options.seed)
    anatomy, wrote = stored.anatomy, [] if out is None else [out]
    if out is not None:
        with whole_folder(out) as work:
            consensus_map(found.atlas, stored, options.share).save(work)
    checksum = None if out is None else UnitMap.checksum(out)
    if options.format == "text":
        _print(ref.identifier, found, anatomy, options, Terminal())
        if checksum is not None:
            print(f"sha256 of the consensus, for the selector FromMap: {checksum}")
    elif options.format == "csv":
        print(machine_text(setting_rows(found.atlas), "csv"))
    else:
        print(json.dumps(_describe(ref.identifier, found, anatomy, options), indent=1))
    # Last: a disk that will not take it must not cost what was found.
    wrote += drawn(options, lambda picture: draw_atlas(found.atlas, anatomy, picture))
    if options.format == "text":
        tell_written(wrote)
    return 0


def _describe(
    name: str, found: Charted, anatomy: Anatomy, options: argparse.Namespace
) -> dict[str, Any]:
    return {
        "model": name,
        "resamples": options.resamples,
        "seed": options.seed,
        "passes": found.passes,
        "sequences": found.sequences,
        "pass_seconds": found.pass_seconds,
        "draw_seconds": found.draw_seconds,
        "rows": plain_rows(setting_rows(found.atlas)),
        "consensus": settings_consensus(found.atlas, anatomy, options.share),
    }


def _print(
    name: str, found: Charted, anatomy: Anatomy, options: argparse.Namespace, console: Terminal
) -> None:
    print(printable(name))
    console.print(_settings(found.atlas))
    if found.atlas.sizes:
        console.print(_sizes(found.atlas))
    summary = settings_consensus(found.atlas, anatomy, options.share)
    print(
        f"SCU of the run: {summary['run_units']} units. In SCU in at least {options.share:.0%} of "
        f"the resamples of {len(summary['settings'])} settings: {consensus_text(summary)}"
    )
    print(
        f"{found.passes} passes over {found.sequences} sequences: {found.pass_seconds:.1f} s; "
        f"{options.resamples} draws per comparison: {found.draw_seconds:.1f} s."
    )


def _settings(atlas: SettingsAtlas) -> Table:
    table = terminal_table(
        "Jaccard per class and Spearman of z_S - z_U with the run: all examples; resample "
        "against resample, mean [95%]",
        ("setting", "differs", "n"),
        (*(item.name for item in UnitClass), "Spearman"),
    )
    for item in atlas.compared:
        drawn = item.drawn
        cells = [
            _cell(value, None if drawn is None else drawn.jaccard[name], 2)
            for name, value in item.jaccard.items()
        ]
        cells.append(_cell(item.spearman, None if drawn is None else drawn.spearman, 3))
        sizes = f"{item.examples['safety']} + {item.examples['utility']}"
        style = "dim" if item.floor else None
        table.add_row(item.name, item.differs, sizes, *cells, style=style)
    return table


def _sizes(atlas: SettingsAtlas) -> Table:
    table = terminal_table(
        "Two draws of n examples of each set that share none: mean [95%]",
        (),
        ("n", *(item.name for item in UnitClass), "Spearman"),
    )
    for curve in atlas.sizes:
        cells = [spread_cell(spread, 2) for spread in curve.jaccard.values()]
        table.add_row(str(curve.size), *cells, spread_cell(curve.spearman, 3))
    return table


def _cell(value: float | None, drawn: Spread | None, digits: int) -> str:
    whole = "" if value is None else f"{value:.{digits}f}"
    return whole if drawn is None else f"{whole}; {spread_cell(drawn, digits)}"

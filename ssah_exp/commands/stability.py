"""`ssah-exp units stability`: how far classes depend on the calibration examples."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from ssah_exp.cache import MARKER, Cache
from ssah_exp.commands.reopened import reopened
from ssah_exp.commands.units import check_draws, drawn, spread_cell, tell_written, units_at
from ssah_exp.config.schema import UnitsConfig
from ssah_exp.errors import ConfigError, StoreError, UnitError, printable
from ssah_exp.models.sizes import Anatomy
from ssah_exp.pipeline.stages import read_statistics
from ssah_exp.records.store import RECORD
from ssah_exp.reporting.figures.stability import draw_stability
from ssah_exp.reporting.stability_rows import consensus_summary, consensus_text, describe_stability
from ssah_exp.reporting.terminal import Terminal, terminal_table
from ssah_exp.units.agreement import ClassAgreement
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.identify import Identification
from ssah_exp.units.stability import StabilityAtlas, stability

_POOLED = (
    "A statistics entry holds moments pooled over examples: nothing can be resampled. Name the "
    "folder of a run that used it to run its examples through the model once more."
)


@dataclass(frozen=True)
class _Source:
    """What the atlas is made from.

    Attributes:
        name: Model or entry, for people.
        identified: Statistics; those of a run with the moments of every example.
        units: Budgets and normalisation.
        notes: What a reader must know.
    """

    name: str
    identified: Identification
    units: UnitsConfig
    notes: list[str]


def execute(options: argparse.Namespace) -> int:
    """Print the atlas of a run or of a statistics entry.

    Raises:
        StoreError: Neither lies there, or the entry is damaged.
        SsahError: The run's model or data cannot be had again.
    """
    check_draws(options, "resamples", 2, of_units=True)
    folder = Path(options.path)
    if (folder / RECORD).is_file():
        source = _of_run(options)
    elif (folder / MARKER).is_file():
        source = _of_entry(folder, options.set)
    else:
        raise StoreError(
            f"{folder} is neither a finished run nor an entry of the statistics cache."
        )
    atlas = stability(
        source.identified, source.units, resamples=options.resamples, seed=options.seed
    )
    anatomy = source.identified.anatomy
    if options.format == "json":
        about = {"source": source.name, "notes": source.notes, "seed": options.seed}
        print(json.dumps({**about, **describe_stability(atlas, anatomy)}, indent=1))
    else:
        _print(source, atlas, anatomy, Terminal())
    # Last: a disk that will not take it must not cost what was found.
    wrote = drawn(options, lambda picture: draw_stability(atlas, anatomy, picture))
    if options.format != "json":
        tell_written(wrote)
    return 0


def _of_run(options: argparse.Namespace) -> _Source:
    """Collect anew, and keep example by example, what the run's cache entry holds pooled."""
    stored = units_at(options.path)
    run = reopened(options)
    ref = run.identified_model()
    identified = run.identify(ref, keep_examples=True)
    again = run.unit_map(ref, identified)
    same = float((again.classes == stored.classes).mean())
    notes = [f"{100 * same:.3f} % of units have the class that the run stored."]
    if same < 1:
        notes.append("The rest differ by the rounding of another machine or batch size.")
    if run.config.units.statistic != "variance":
        notes.append("The run used 'flap', which depends on order; resampled is 'variance'.")
    return _Source(ref.identifier, identified, run.config.units, notes)


def _of_entry(folder: Path, overrides: Sequence[str]) -> _Source:
    if overrides:
        raise ConfigError("--set has no effect on a statistics entry: it is read as it is.")
    folder = folder.resolve()
    entry = Cache(folder.parents[1]).find(folder.parent.name, folder.name)
    if not (folder / "anatomy.json").is_file():
        raise UnitError(f"{folder} is an entry of '{entry.stage}', not of 'statistics'.")
    units = UnitsConfig()
    notes = [_POOLED, f"Entries hold no budgets; these are the defaults: {units.budgets}."]
    return _Source(f"statistics {folder.name}", read_statistics(entry), units, notes)


def _print(source: _Source, atlas: StabilityAtlas, anatomy: Anatomy, console: Terminal) -> None:
    print(printable("\n".join([source.name, *source.notes])))
    if atlas.examples is not None:
        sizes = ", ".join(f"{count} {name}" for name, count in atlas.examples.items())
        print(f"Examples: {sizes}")
    console.print(_table(atlas.agreements))
    summary = consensus_summary(atlas, anatomy)
    if summary is not None:
        print(
            f"SCU of all examples: {summary['reference_units']} units. In at least half of the "
            f"bootstrap resamples: {consensus_text(summary)}"
        )


def _table(agreements: Sequence[ClassAgreement]) -> Table:
    table = terminal_table(
        "Jaccard per class and Spearman of z_S - z_U: mean [95% of draws]",
        ("comparison",),
        ("draws", *(item.name for item in UnitClass), "Spearman"),
    )
    table.columns[0].no_wrap = True
    for item in agreements:
        cells = [spread_cell(spread, 2) for spread in item.jaccard.values()]
        table.add_row(item.name, str(item.draws), *cells, spread_cell(item.spearman, 3))
    return table

"""`ssah-exp units follow`: which classes the units of a trained arm had, step by step."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from ssah_exp.commands.units import drawn, tell_written
from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.errors import StoreError, UnitError, did_you_mean
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import read_run
from ssah_exp.reporting.figures.track import draw_track
from ssah_exp.reporting.terminal import Terminal, terminal_table
from ssah_exp.reporting.text import machine_text
from ssah_exp.reporting.transfer_rows import track_rows

Track = list[dict[str, Any]]


def execute(options: argparse.Namespace) -> int:
    """Print what a run saw of one arm while it was trained.

    Raises:
        StoreError: No record there, or the run followed no units.
        UnitError: No such arm was followed.
        ConfigError: A figure of unknown suffix.
    """
    record = read_run(Path(options.path))
    followed = _followed(record)
    tracks: dict[str, Track] = {arm: item["track"] for arm, item in followed.items()}
    name = next(iter(tracks)) if options.arm is None else options.arm
    if name not in tracks:
        raise UnitError(f"No arm '{name}' that was followed.{did_you_mean(name, tracks)}")
    wrote = drawn(options, lambda picture: draw_track(tracks[name], name, picture))
    rows, overhead = track_rows(tracks[name]), _overhead(record, name, followed[name])
    if options.format == "csv":
        print(machine_text(rows, "csv"))
    elif options.format == "json":
        shown = {"arm": name, "track": tracks[name], "overhead": overhead}
        print(json.dumps(shown, indent=1))
    else:
        _print(name, rows, Terminal())
        if overhead is not None:
            print(f"Looking took {100 * overhead:.1f} % of the process time of the rest.")
        tell_written(wrote)
    return 0


def _followed(record: RunRecord) -> dict[str, dict[str, Any]]:
    """Trainings whose units were followed, by arm, in the record's order."""
    found = {
        arm.name: arm.training
        for arm in record.arms
        if arm.training is not None and "track" in arm.training
    }
    if not found:
        raise StoreError(
            f"Run {record.run_id} followed no units while it trained; run it with "
            "training.track.every=STEPS."
        )
    return found


def _overhead(record: RunRecord, arm: str, training: dict[str, Any]) -> float | None:
    """Process time of looking over that of the rest; old records have it in ``training``."""
    costs = {stage.name: stage.cost for stage in record.stages}
    overhead: float | None = training.get("track_overhead")
    return costs.get(f"train {arm}", {}).get("track_overhead", overhead)


def _print(name: str, rows: pd.DataFrame, console: Terminal) -> None:
    kept = [f"{before} kept" for before in CLASSES]
    now = [f"SCU now {after}" for after in CLASSES[1:]]
    table = terminal_table(
        f"{name}: % of each class before training that has it at a step; SCU by class",
        (),
        ("step", *kept, *now),
    )
    for step, look in rows.groupby("step"):
        shares = look.set_index(["from", "to"])["of_before_pct"]
        cells = [shares[before, before] for before in CLASSES]
        cells += [shares["SCU", after] for after in CLASSES[1:]]
        table.add_row(str(step), *("" if pd.isna(cell) else f"{cell:.1f}" for cell in cells))
    console.print(table)

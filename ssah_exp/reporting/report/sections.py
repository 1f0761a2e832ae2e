"""What the page says of each artefact: per setting its figures, tables and certificates."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ssah_exp.config.artefacts import TABLE1, TRAINING_ARTEFACTS
from ssah_exp.evaluation.metric_names import PERPLEXITY
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting import table1, training_table
from ssah_exp.reporting.artefacts import RENDERERS, render_artefact
from ssah_exp.reporting.beside_paper.table import TITLE, measured_pairs, notes, pairs_of, wide
from ssah_exp.reporting.captions import captions_of, seeds_text
from ssah_exp.reporting.notes.held_classes import TITLE as HELD
from ssah_exp.reporting.notes.held_classes import held_frame
from ssah_exp.reporting.report.charts.forest import forest
from ssah_exp.reporting.report.charts.parts import Chart
from ssah_exp.reporting.report.charts.training import curves, scatter
from ssah_exp.reporting.report.payload import primary_asr
from ssah_exp.reporting.report.pictures import Picture, pictures
from ssah_exp.reporting.rows import Block, blocks
from ssah_exp.reporting.setting_text import notes_below

# A value as tables write it: maybe with a sign, spread, interval, ``(2 of 5)`` and dagger.
_NUMBER = re.compile(
    r"[+\-]?(inf|\d[\d.\u2009e+\-]*)( (±|×/÷) \S+)?( \[.*\])?( \(\d+ of \d+\))?( †)?$"
)


# A page with more settings would take too long to open; its table of runs holds all runs.
MOST_SETTINGS = 100


@dataclass(frozen=True)
class Table:
    """Headings and cells as text.

    Attributes:
        caption: What it is.
        headings: Of the columns.
        numeric: Which columns hold numbers and gaps alone: those are set flush right.
        rows: Cells.
        notes: What stands below.
    """

    caption: str
    headings: list[str]
    numeric: list[bool]
    rows: list[list[str]]
    notes: list[str]


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but the seed.

    Attributes:
        title: What a reader picks it by: no other of its artefact has the same.
        caption: What was run.
        runs: Their ids, in the order of the seeds.
        charts: Figures.
        tables: Below them.
    """

    title: str
    caption: str
    runs: list[str]
    charts: list[Chart]
    tables: list[Table]


@dataclass(frozen=True)
class Section:
    """An artefact.

    Attributes:
        artefact: Its name.
        runs: How many there are.
        settings: Those shown, the newest first.
        left: How many settings are not shown.
        text: Its table as text, if it is no pruning or training table; empty where none is known.
        pictures: Drawings of its newest runs, if it is no pruning or training table.
    """

    artefact: str
    runs: int
    settings: list[Setting]
    left: int
    text: str
    pictures: list[Picture]


def sections(records: Sequence[RunRecord]) -> list[Section]:
    """One per artefact, by name; the newest 100 settings over all are shown with their tables."""
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        groups[record.artefact].append(record)
    known = {name: runs for name, runs in groups.items() if name in (TABLE1, *TRAINING_ARTEFACTS)}
    settings = {
        name: sorted(blocks(runs), key=_newest, reverse=True) for name, runs in known.items()
    }
    ends = sorted((_newest(block) for found in settings.values() for block in found), reverse=True)
    oldest = min(ends[:MOST_SETTINGS], default="")
    made: list[Section] = []
    for name, runs in sorted(groups.items()):
        found = settings.get(name, [])
        shown = [block for block in found if _newest(block) >= oldest]
        plain = name not in known and name in RENDERERS
        text = render_artefact(runs, "markdown") if plain else ""
        drawn = pictures(runs) if plain else []
        left = len(found) - len(shown)
        caption_of = table1.caption_of if name == TABLE1 else training_table.caption_of
        captions = captions_of(shown, caption_of)
        titled = _apart([_setting(*item) for item in zip(shown, captions, strict=True)])
        made.append(Section(name, len(runs), titled, left, text, drawn))
    return made


def _apart(settings: Sequence[Setting]) -> list[Setting]:
    """Add run ids to titles that are alike: settings may differ in any part of the config."""
    alike = Counter(setting.title for setting in settings)
    return [
        replace(setting, title=f"{setting.title}, {_ids(setting.runs)}")
        if alike[setting.title] > 1
        else setting
        for setting in settings
    ]


def _ids(runs: Sequence[str]) -> str:
    return f"run{'' if len(runs) == 1 else 's'} {', '.join(runs)}"


def _newest(block: Block) -> str:
    return max(record.finished for record in block.records)


def _setting(block: Block, caption: str) -> Setting:
    record = block.records[0]
    pruning = record.artefact == TABLE1
    frame = (table1.wide_frame if pruning else training_table.wide_frame)(block)
    budgets, data = record.config["units"]["budgets"], record.config["data"]["name"]
    seeds = seeds_text(block.records)
    title = f"{record.config['model']['name']}, {data}, SCU {budgets['scu']:g}, {seeds}"
    beside, said = _comparison(block)
    measured = _table("Measured, with intervals", frame, [*notes_below(block), *said])
    held = held_frame(block)
    sets = [] if held is None else [_table(HELD.rstrip(":") + ".", held)]
    tables = [measured, *sets, *beside, *_certificates(block)]
    runs = [item.run_id for item in block.records]
    return Setting(title, caption, runs, list(_charts(block)), tables)


def _charts(block: Block) -> Iterator[Chart]:
    metric = primary_asr(block.records[0])
    for chart in (
        forest(block, metric),
        forest(block, PERPLEXITY, log=True),
        scatter(block, metric),
        curves(block.records),
    ):
        if chart is not None:
            yield chart


def _comparison(block: Block) -> tuple[list[Table], list[str]]:
    """The table beside the paper's; if nothing published was measured, notes that say so."""
    pairs = pairs_of(block)
    said, shown = list(notes(pairs)), measured_pairs(pairs)
    if not shown:
        return [], said
    return [_table(TITLE.rstrip(":") + ".", wide(shown), said)], []


def _certificates(block: Block) -> Iterator[Table]:
    """What each training proved: how many weights moved, and the hash that frozen ones kept."""
    lines = [
        {
            "arm": arm.name,
            "seed": str(record.seed),
            "policy": str(arm.training.get("policy", "")),
            "steps": _whole(arm.training.get("steps")),
            "weights changed": _whole(proof.get("changed_weights")),
            "of changeable": _whole(proof.get("changeable_weights")),
            "weights frozen": _whole(proof.get("frozen_weights")),
            "their sha256, before and after": str(proof.get("frozen_sha256", ""))[:16],
        }
        for record in block.records
        for arm in record.arms
        if arm.training is not None and (proof := arm.training.get("certificate")) is not None
    ]
    if lines:
        caption = "Certificates: frozen weights kept every bit, weights that should move moved."
        yield _table(caption, pd.DataFrame(lines))


def _whole(value: object) -> str:
    """Thin spaces between thousands; a gap stays empty."""
    return "" if value is None else f"{int(str(value)):,}".replace(",", "\u2009")


def _table(caption: str, frame: pd.DataFrame, below: Sequence[str] = ()) -> Table:
    rows = [[str(cell) for cell in row] for row in frame.to_numpy().tolist()]
    numeric = [_numbers(column) for column in zip(*rows, strict=True)]
    return Table(caption, [str(name) for name in frame.columns], numeric, rows, list(below))


def _numbers(column: Sequence[str]) -> bool:
    """Whether some cells are numbers, and all others gaps."""
    filled = [text for text in column if text not in ("", "-")]
    return bool(filled) and all(_NUMBER.match(text) for text in filled)

"""Records as plain CSV files, for a spreadsheet or another program."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from ssah_exp.evaluation.judges.label_file import as_cell
from ssah_exp.records.record import RunRecord
from ssah_exp.records.trackers.base import RunHead
from ssah_exp.records.trackers.rows import Row, about, columns_of, key_rows, tables
from ssah_exp.storage import write_atomically


@dataclass(frozen=True)
class CsvTracker:
    """``<root>/csv/<table>/<run id>.csv``.

    Every line begins with run id, artefact and seed, so that the files of a table can be joined
    into one. Each run has a file of its own: runs that finish at the same moment do not collide.
    """

    @property
    def key(self) -> str:
        """See :class:`~ssah_exp.records.trackers.base.Tracker`."""
        return "csv"

    def wanted(self) -> dict[str, bool]:
        """Nothing: it holds tables."""
        return {}

    def open(self, head: RunHead, root: Path) -> None:
        """Show nothing yet: tables are written when their numbers are there."""

    def mirror(self, record: RunRecord, folder: Path, root: Path) -> str:
        """Write every table of a record; return their folder.

        Table ``config`` has config, inputs, provenance and what else the record says.

        Raises:
            StoreError: The disk is full or not writable.
        """
        place = root / "csv"
        named = {name: [_inert(row) for row in rows] for name, rows in tables(record).items()}
        config = key_rows({**RunHead.of(record).described(), "record": about(record)})
        for name, rows in {**named, "config": config}.items():
            write_atomically(place / name / f"{record.run_id}.csv", _text(record, rows))
        return str(place)


def _inert(row: Row) -> Row:
    """A row in whose texts no spreadsheet finds a formula; names may be other people's."""
    return {key: as_cell(value) if isinstance(value, str) else value for key, value in row.items()}


def _text(record: RunRecord, rows: list[Row]) -> str:
    whose: Row = {"run_id": record.run_id, "artefact": record.artefact, "seed": record.seed}
    text = io.StringIO()
    # A gap is empty; a float is written so that it is read back as the same float.
    writer = csv.DictWriter(text, [*whose, *columns_of(rows)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**whose, **row} for row in rows)
    return text.getvalue()

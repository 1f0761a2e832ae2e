"""`ssah-exp report`: all records on one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssah_exp.commands.records import some_records
from ssah_exp.reporting.report.page import render_report
from ssah_exp.storage import write_atomically


def execute(options: argparse.Namespace) -> int:
    """Write the page.

    Raises:
        StoreError: There is no record, or the file cannot be written.
    """
    records = some_records(options)
    out, page = Path(options.out), render_report(records)
    write_atomically(out, page)
    size = len(page.encode()) / 1e6
    print(f"wrote {out}: {len(records)} run{'' if len(records) == 1 else 's'}, {size:.1f} MB")
    return 0

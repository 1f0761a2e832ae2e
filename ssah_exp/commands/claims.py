"""`ssah-exp claims`: which claims the records support."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssah_exp.commands.records import records_of
from ssah_exp.reporting.claims.claim_file import read_claims
from ssah_exp.reporting.claims.settle import settle
from ssah_exp.reporting.claims.table import render_claims


def execute(options: argparse.Namespace) -> int:
    """Print the verdicts and the tests behind them.

    Raises:
        ConfigError: The file of claims is wrong, or does not fit the records.
        StoreError: There are no records where they were looked for.
    """
    claims = read_claims(Path(options.file))
    records, _ = records_of(options)
    settled = settle(claims, records, records_only=options.records_only)
    print(render_claims(claims, settled, options.format))
    return 0

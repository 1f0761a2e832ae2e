"""`ssah-exp claims`: which claims the records support."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssah_exp.commands.records import records_of, some_records
from ssah_exp.reporting.claims.claim_file import read_claims
from ssah_exp.reporting.claims.settle import settle
from ssah_exp.reporting.claims.table import render_claims


def execute(options: argparse.Namespace) -> int:
    """Print the verdicts and the tests behind them.

    Raises:
        ConfigError: The file of claims is wrong, or does not fit the records.
        StoreError: There are no records where they were looked for, though a test needs them; with
            ``--records-only`` all is not run instead.
    """
    claims = read_claims(Path(options.file))
    needed = any(test.csv is None for claim in claims.claims for test in claim.tests)
    # Who asks for records only may look at claims that are still to be run.
    some = needed and not options.records_only
    records = some_records(options) if some else records_of(options)[0]
    settled = settle(claims, records, records_only=options.records_only)
    print(render_claims(claims, settled, options.format))
    return 0

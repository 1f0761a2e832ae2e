"""Claims written to a file, and the seeds they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.claims.claim_file import ClaimFile, read_claims
from ssah_exp.reporting.claims.settle import Settled
from tests.records.synthetic import JUDGE, arm, metrics, record

METRIC = f"asr/raw/{JUDGE}"

SCU_ABOVE = {"shows": "higher", "arm": "SCU/pooled", "against": "aligned", "metric": METRIC}


def claims_of(folder: Path, *claims: dict[str, Any], **more: Any) -> ClaimFile:
    given = [{"artefact": "table1_pruning", "source": "Table 1", **claim} for claim in claims]
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": given, **more}), encoding="utf-8")
    return read_claims(path)


def seeds_of(
    scu: Sequence[float], aligned: Sequence[float] = (0.1,) * 9, losses: Sequence[float] = ()
) -> list[RunRecord]:
    made: list[RunRecord] = []
    for seed, value in enumerate(scu):
        loss = losses[seed] if losses else 2.0
        pruned = arm("SCU/pooled", value, metrics=metrics(value, loss))
        made.append(record(seed, arms=[arm("aligned", aligned[seed]), pruned]))
    return made


def only(settled: list[Settled]) -> Settled:
    (found,) = settled
    return found

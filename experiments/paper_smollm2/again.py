"""The committed records beside the same runs made again: one row an arm.

    python experiments/paper_smollm2/again.py ROOT > experiments/paper_smollm2/again.csv

ROOT holds runs of `experiment=paper_smollm2 size=small`. A run's counterpart has its artefact, seed
and config, but for which arms were trained; arms that only one of the two has are left out. What
two arms are compared by follows their names: the committed value, then the new one. Last comes
the share of raw requests that were answered with no text, which older records did not count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ssah_exp.evaluation.metric_names import (
    PERPLEXITY,
    TRAIN_LOSS,
    asr_name,
    empty_name,
    refusal_name,
)
from ssah_exp.evaluation.questions import BENIGN, BORDERLINE
from ssah_exp.records.dotted import dotted
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.records.store import RecordStore, read_folder

JUDGE = "zou2023"
COMPARED = {
    "asr_raw": asr_name("raw", JUDGE),
    "asr_chat": asr_name("chat", JUDGE),
    "plain_refused": refusal_name(BENIGN, "chat", JUDGE),
    "borderline_refused": refusal_name(BORDERLINE, "chat", JUDGE),
    "perplexity": PERPLEXITY,
    "train_loss": TRAIN_LOSS,
}


def setting(record: RunRecord) -> tuple[str, int, str]:
    """What a run and its counterpart have in common."""
    config = dict(dotted(record.config))
    kept = {key: val for key, val in config.items() if not key.startswith("training.arms.")}
    return record.artefact, record.seed, repr(sorted(kept.items()))


def value(arm: ArmRecord, metric: str) -> float | None:
    """What was measured, None where it was not."""
    found = arm.metrics.get(metric)
    return None if found is None else found.value


def compared(committed: RunRecord, again: RunRecord) -> Iterator[dict[str, Any]]:
    """A row for every arm that both have and that answered requests."""
    before = {arm.name: arm for arm in committed.arms}
    for arm in again.arms:
        if (old := before.get(arm.name)) is None or PERPLEXITY not in arm.metrics:
            continue
        row: dict[str, Any] = {
            "artefact": again.artefact,
            "data": again.config["data"]["name"],
            "scu": again.config["units"]["budgets"]["scu"],
            "samples": again.config["units"]["samples"],
            "seed": again.seed,
            "arm": arm.name,
            "committed": committed.run_id,
            "again": again.run_id,
        }
        for name, metric in COMPARED.items():
            row |= {name: value(old, metric), f"{name}_again": value(arm, metric)}
        row["empty_raw_again"] = value(arm, empty_name("raw"))  # older records lack it
        yield row


def main() -> None:
    """Print the rows as csv, and on the error stream how many rates agree."""
    committed = {setting(record): record for record in read_folder(Path(__file__).parents[1])}
    store = RecordStore(Path(sys.argv[1]))
    rows: list[dict[str, Any]] = []
    for record in (run for artefact in store.artefacts() for run in store.read(artefact)):
        if (found := committed.get(setting(record))) is None:
            print(f"no counterpart of {record.artefact} {record.run_id}", file=sys.stderr)
        else:
            rows += compared(found, record)
    frame = pd.DataFrame(rows).sort_values(list(rows[0])[:6], ignore_index=True)
    rates = [name for name in COMPARED if name not in ("perplexity", "train_loss")]
    alike = (frame[rates].to_numpy() == frame[[f"{name}_again" for name in rates]].to_numpy()) | (
        frame[rates].isna().to_numpy()
    )
    print(f"{len(frame)} arms, all rates equal in {alike.all(1).sum()}", file=sys.stderr)
    print(frame.loc[~alike.all(1), ["data", "scu", "seed", "arm"]].to_string(), file=sys.stderr)
    frame.to_csv(sys.stdout, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()

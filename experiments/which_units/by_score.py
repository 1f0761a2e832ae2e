"""Of every seed, what pruning SCU does by the paper's score and by another one.

cd experiments/which_units; python by_score.py > by_score.csv   # SNIP
cd unweighted; python ../by_score.py smollm2 > smollm2.csv      # variance alone; also: qwen
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ssah_exp.evaluation.metric_names import PERPLEXITY, asr_name
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import read_folder

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Side:
    """Where the SCU of either score are, and what is told of them.

    Attributes:
        score: Name of the other score, for columns.
        paper: Folder of records by the paper's score; others in it are left out.
        other: Folder of records by the other score, for the same model.
        arm: Name of the arm.
        asr: Name of its ASR.
    """

    score: str
    paper: str
    other: str
    arm: str
    asr: str


RAW = ("SCU/pooled", asr_name("raw", "zou2023_text"))
CHAT = ("SCU/utility", asr_name("chat", "zou2023_words"))
SIDES = {
    "snip": Side("snip", "records", "records", *RAW),
    "smollm2": Side("variance", "../paper_smollm2/nearest/records", "unweighted/records", *RAW),
    "qwen": Side("variance", "../came_aligned/nearest/records", "unweighted/records", *CHAT),
}


def by_paper(record: RunRecord) -> bool:
    """Whether a run's units have the paper's score."""
    units = record.config["units"]
    return units.get("scoring") is None and not units.get("unweighted")


def measured(record: RunRecord, side: Side, score: str) -> dict[str, float]:
    """ASR and log perplexity of the SCU, by column."""
    (scu,) = (arm for arm in record.arms if arm.name == side.arm)
    asr, perplexity = (scu.metrics[name].value for name in (side.asr, PERPLEXITY))
    assert asr is not None
    assert perplexity is not None
    return {f"{score}_asr": asr, f"{score}_log_perplexity": math.log(perplexity)}


def main(name: str = "snip") -> None:
    """One row a seed that has both records."""
    side = SIDES[name]
    paper = [record for record in read_folder(HERE / side.paper) if by_paper(record)]
    (model,) = {record.config["model"]["name"] for record in paper}
    other = [
        record
        for record in read_folder(HERE / side.other)
        if record.config["model"]["name"] == model and not by_paper(record)
    ]
    rows: dict[int, dict[str, float]] = {}
    for score, records in (("paper", paper), (side.score, other)):
        for record in records:
            rows.setdefault(record.seed, {}).update(measured(record, side, score))
    table = pd.DataFrame(rows).T.rename_axis("seed").sort_index().dropna()
    table[sorted(table.columns)].to_csv(sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])

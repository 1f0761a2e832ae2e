"""Makes smollm2.csv and qwen.csv: of every seed, what pruning SCU does with and without norms.

cd experiments/which_units/unweighted; python by_weight.py smollm2 > smollm2.csv
"""

import math
import sys
from pathlib import Path

import pandas as pd

from ssah_exp.evaluation.metric_names import PERPLEXITY, asr_name
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import read_folder

HERE = Path(__file__).parent
EXPERIMENTS = HERE.parents[1]
# Where the same seeds' SCU by the paper's score are, the arm, its ASR.
SIDES = {
    "smollm2": ("paper_smollm2/nearest", "SCU/pooled", asr_name("raw", "zou2023_text")),
    "qwen": ("came_aligned/nearest", "SCU/utility", asr_name("chat", "zou2023_words")),
}


def measured(record: RunRecord, arm: str, asr: str) -> tuple[float, float]:
    """ASR and log perplexity of an arm."""
    (scu,) = (item for item in record.arms if item.name == arm)
    rate, perplexity = (scu.metrics[name].value for name in (asr, PERPLEXITY))
    assert rate is not None
    assert perplexity is not None
    return rate, math.log(perplexity)


def main(model: str) -> None:
    """One row a seed that has both records."""
    beside, arm, asr = SIDES[model]
    paper = read_folder(EXPERIMENTS / beside / "records")
    name = paper[0].config["model"]["name"]
    variance = [
        record for record in read_folder(HERE / "records") if record.config["model"]["name"] == name
    ]
    rows: dict[int, dict[str, float]] = {}
    for score, records in (("paper", paper), ("variance", variance)):
        for record in records:
            rate, loss = measured(record, arm, asr)
            row = rows.setdefault(record.seed, {})
            row[f"{score}_asr"], row[f"{score}_log_perplexity"] = rate, loss
    table = pd.DataFrame(rows).T.rename_axis("seed").sort_index().dropna()
    table[sorted(table.columns)].to_csv(sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Makes by_score.csv: of every seed, what pruning SCU does by the paper's score and by SNIP.

python experiments/which_units/by_score.py > experiments/which_units/by_score.csv
"""

import math
import sys
from pathlib import Path

import pandas as pd

from ssah_exp.evaluation.metric_names import PERPLEXITY, asr_name
from ssah_exp.records.store import read_folder

ASR = asr_name("raw", "zou2023_text")


def main() -> None:
    """One row a seed that has both records."""
    rows: dict[int, dict[str, float]] = {}
    for record in read_folder(Path(__file__).with_name("records")):
        score = "paper" if record.config["units"].get("scoring") is None else "snip"
        (scu,) = (arm for arm in record.arms if arm.name == "SCU/pooled")
        asr, perplexity = (scu.metrics[name].value for name in (ASR, PERPLEXITY))
        assert asr is not None
        assert perplexity is not None
        row = rows.setdefault(record.seed, {})
        row[f"{score}_asr"], row[f"{score}_log_perplexity"] = asr, math.log(perplexity)
    table = pd.DataFrame(rows).T.rename_axis("seed").sort_index().dropna()
    table[sorted(table.columns)].to_csv(sys.stdout)


if __name__ == "__main__":
    main()

"""The records of all seeds as runs of one setting, so that claims can be held against all of them.

    python experiments/paper_smollm2/all_seeds.py OUT
    ssah-exp claims experiments/paper_smollm2/claims.yaml --records OUT

The sixth seed was run with fewer arms, and the fresh seeds with fewer arms and a judge more: to
`claims` these are other settings. The copies in OUT say of their config only what the committed
records of seeds 0 to 4 have in common with them; what was measured is as it was.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import read_folder

HERE = Path(__file__).parent
JUDGE = "zou2023"


def as_one_setting(record: RunRecord) -> RunRecord:
    """Without judges beside the study's, and without saying which arms were trained."""
    config = deepcopy(record.config)
    evaluation = config["evaluation"]
    evaluation["judges"] = {JUDGE: evaluation["judges"][JUDGE]} if "judges" in evaluation else {}
    if config.get("training"):
        config["training"]["arms"] = {}
    return replace(record, config=config)


def main() -> None:
    """Write the copies."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    for source in (HERE.parent, HERE / "sixth_seed", HERE / "fresh_seeds"):
        for record in read_folder(source):
            text = as_one_setting(record).to_json()
            (folder / f"{record.run_id}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

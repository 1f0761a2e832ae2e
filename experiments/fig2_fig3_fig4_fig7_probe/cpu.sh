#!/usr/bin/env bash
# The runs of README.md: cpu.sh DATA_ROOT. Seed 2 shares its aligned model with the tables.
set -euo pipefail
data="$1"
common=(experiment=probe data=paper_files_small "data.root=$data"
  data.benign_eval.every=2 data.borderline_eval.every=5)
ssah-exp run -m "${common[@]}" seed=0,1,2,3,4
ssah-exp run "${common[@]}" seed=2 data.name=paper_files_strongreject \
  "data.harmful_eval.path=$data/strongreject/strongreject_dataset.csv" \
  'data.harmful_eval.prompt="{forbidden_prompt}"' data.harmful_eval.stop=null \
  +data.harmful_eval.start=2 +data.harmful_eval.every=5

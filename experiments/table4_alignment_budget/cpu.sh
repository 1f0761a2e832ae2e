#!/usr/bin/env bash
# The runs behind results.*: the embedded model, one CPU core. See README.md.
#   experiments/table4_alignment_budget/cpu.sh DATA_ROOT
set -euo pipefail
data_root="${1:?folder with advbench/, safety_calibration/, benign_instructions/, wikitext2/, xstest/}"
for seed in 0 1 2 3 4; do
  ssah-exp run experiment=table4_alignment_budget data=paper_files_small data.root="$data_root" \
    seed="$seed" data.alignment.0.sample=80 data.alignment.1.sample=80 \
    'evaluation.harmful_styles=[raw,chat]' \
    training.batch_size=8 training.max_length=80 training.loss_examples=48
done

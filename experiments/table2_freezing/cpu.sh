#!/usr/bin/env bash
# The runs behind results.*: the embedded model, one CPU core a seed. See README.md.
#   experiments/table2_freezing/cpu.sh DATA_ROOT
set -euo pipefail
data_root="${1:?folder with advbench/, safety_calibration/, benign_instructions/, wikitext2/, xstest/}"
for seed in 0 1 2 3 4; do
  ssah-exp run experiment=table2_freezing data=paper_files_small data.root="$data_root" seed="$seed" \
    finetune=alpaca data.finetune.0.sample=128 'evaluation.harmful_styles=[raw,chat]' \
    training.learning_rate=3e-4 training.batch_size=8 training.max_length=96 training.loss_examples=48
done

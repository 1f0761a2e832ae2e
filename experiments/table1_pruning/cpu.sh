#!/usr/bin/env bash
# The runs behind results.*: the embedded model on two CPU cores. See README.md.
#   experiments/table1_pruning/cpu.sh DATA_ROOT
set -euo pipefail
data_root="${1:?folder with advbench/, safety_calibration/, benign_instructions/, wikitext2/, xstest/}"
for seed in 0 1 2; do
  ssah-exp run experiment=quickstart seed="$seed"
  ssah-exp run -m experiment=quickstart seed="$seed" units.budgets.scu=0.02,0.05 \
    'ablation.classes=[SCU]' 'ablation.fills=[pooled]' ablation.controls.draws=1
  ssah-exp run -m experiment=table1_small data=paper_files_small data.root="$data_root" \
    seed="$seed" units.budgets.scu=0.01,0.02,0.05 'evaluation.harmful_styles=[raw]'
  ssah-exp run experiment=table1_small data=paper_files_small data.root="$data_root" \
    seed="$seed" units.budgets.scu=0.01 'evaluation.harmful_styles=[raw,raw_system]' \
    'ablation.classes=[SCU,UCU,CU,RU]' 'ablation.fills=[pooled,safety,utility]' \
    'ablation.fills_of=[SCU]' 'ablation.controls.of=[SCU]' ablation.controls.draws=3
done
# Two more seeds of AdvBench at 1 %.
for seed in 3 4; do
  ssah-exp run experiment=table1_small data=paper_files_small data.root="$data_root" \
    seed="$seed" units.budgets.scu=0.01 'evaluation.harmful_styles=[raw]'
done

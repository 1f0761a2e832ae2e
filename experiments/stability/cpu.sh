#!/usr/bin/env bash
# The second model of README.md, seed 3: cpu.sh DATA_ROOT OUT. Any finished run on the aligned model
# with its units will do; this one trains one arm, for ../fig5_fig6_transfer, and asks little of it.
set -euo pipefail
data="$1" out="$2"
given=(--set data=paper_files_small --set "data.root=$data" --set atlas=paper_files)
without() { for name in "$@"; do given+=(--set "~atlas.settings.$name"); done; }
ssah-exp run experiment=table2_freezing data=paper_files_small "data.root=$data" seed=3 \
  paths.root="$out" tracker=none finetune=alpaca data.finetune.0.sample=128 \
  'evaluation.harmful_styles=[chat]' training.learning_rate=3e-4 training.batch_size=8 \
  training.max_length=96 training.loss_examples=48 '~training.arms.setting_i' \
  '~training.arms.setting_ii' data.harmful_eval.stop=20 data.benign_eval.every=10 \
  data.borderline_eval.every=25 evaluation.perplexity.max_tokens=512
run="$(ls -d "$out"/runs/table2_freezing/*)"
without seed_12 safety_tuned do_not_answer dolly safety_tuned_and_dolly web_text alpaca_twice
ssah-exp units atlas "$run" "${given[@]}" --set atlas.pool=512 --figure atlas-seed3.svg

# seeds.csv, from one call per seed S on its run of ../paper_smollm2:
#   ssah-exp units atlas RUN --set data=paper_files_small --set data.root=DIR --set atlas=paper_files \
#     --set atlas.pool=0 --resamples 100 --figure five_models_seedS.svg
# with every setting but safety_tuned left out, as above; then
#   ssah-exp units seeds 0=five_models_seed0.csv 1=five_models_seed1.csv 2=five_models_seed2.csv \
#     3=five_models_seed3.csv 4=five_models_seed4.csv --column redrawn=run \
#     --column other_safety_set=safety_tuned --column shuffled=random

# The third model and the sizes up to 505, on runs of ../calibration_size (seed 0) and of
# experiment=table1_small with MORE below; settings that are not named are left out, as above.
#   ssah-exp units atlas RUN --set data=paper_files_small --set data.root=DIR --set atlas=paper_files \
#     --set atlas.pool=0 --figure atlas-seed0.svg            # all but do_not_answer left out
#   ssah-exp units atlas RUN2 --set data=paper_files_small --set data.root=DIR --set atlas=paper_files \
#     --set atlas.pool=1014 --figure atlas-sizes.svg         # all settings left out, and MORE:
#     data.utility_calibration.path=DIR/finetune_attack/alpaca_data_safety_only.json
#     data.utility_calibration.stop=null
# The sizes up to 512 on Bianchi et al.'s set: the same call with --set atlas.pool=1028, and MORE, in
# both the run and the call (there as --set KEY=VALUE), being
#     data.utility_calibration.path=DIR/finetune_attack/alpaca_data_safety_only.json
#     data.utility_calibration.stop=null data.safety_calibration.extract=null
#     data.safety_calibration.path=DIR/safety_calibration/safety_only_data_Instructions.json
#     'data.safety_calibration.prompt="{instruction}\n{input}"'
#     'data.safety_calibration.response="{output}"'
# (Hydra leaves \n as two characters, with which every request then ends: all inputs are empty. Whether the
# committed table was made so, no record says.)

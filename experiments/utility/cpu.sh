#!/usr/bin/env sh
# The runs whose records lie in records/: sh experiments/utility/cpu.sh DATA_ROOT
# The model as it comes, and next to nothing but utility. Some 20 minutes of one CPU core.
set -eu
run() {
  ssah-exp run experiment=table1_small alignment=none data=paper_files_small data.root="$root" seed=0 \
    +data.harmful_eval.every=25 data.benign_eval.every=50 data.borderline_eval.every=50 \
    'ablation.classes=[]' 'ablation.controls.of=[]' 'ablation.fills_of=[]' units.samples=8 "$@"
}
root=$1
run utility=paper6_files utility.limit=200 \
  'utility.tasks=[winogrande,openbookqa,arc_challenge,arc_easy,piqa,rte]'
run utility=paper6_files utility.limit=200 'utility.tasks=[hellaswag,boolq]'
run utility=table4_files 'utility.tasks=[mmlu]' utility.limit=2
run utility=table4_files 'utility.tasks=[gsm8k]' utility.limit=20
run evaluation.perplexity.window=max evaluation.perplexity.max_tokens=16384 \
  evaluation.perplexity.batch_size=1

"""Names of what a run can be: an artefact is a table or figure of the paper, or a study like it."""

from __future__ import annotations

TABLE1 = "table1_pruning"
TRAINING_ARTEFACTS = (
    "table2_freezing",
    "table3_peft",
    "table4_alignment_budget",
    "scu_only",
    "unit_lora",
    "frozen_share",
    "ru_budget",
)
PROBE = "probe"
ATTACKED = (TABLE1, *TRAINING_ARTEFACTS)  # those that ask arms questions
ARTEFACTS = (*ATTACKED, PROBE)

"""Attacks: a model and requests in, adversarial prompts out; one file each.

They measure how robust a model under study is. No optimised suffix and no harmful template ships
with them.
"""

from ssah_exp.evaluation.attacks.autodan import AutoDan
from ssah_exp.evaluation.attacks.base import Attack, Attempt
from ssah_exp.evaluation.attacks.gcg import Gcg
from ssah_exp.evaluation.attacks.pair import Pair
from ssah_exp.evaluation.attacks.prefill import Prefill
from ssah_exp.evaluation.attacks.request import Request
from ssah_exp.evaluation.attacks.suffixes import SuffixFile
from ssah_exp.evaluation.attacks.victim import Victim

__all__ = [
    "Attack",
    "Attempt",
    "AutoDan",
    "Gcg",
    "Pair",
    "Prefill",
    "Request",
    "SuffixFile",
    "Victim",
]

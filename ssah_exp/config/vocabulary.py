"""Words of the config that more than one room reads."""

from __future__ import annotations

CLASSES = ("SCU", "UCU", "CU", "RU")
STATISTICS = ("variance", "flap")
FILLS = ("safety", "utility", "pooled", "zero")
OBJECTIVES = ("sft", "dpo")
PRECISIONS = ("float32", "bfloat16", "float16")
TOKENS = ("response", "all")
STYLES = ("raw", "raw_system", "chat", "chat_system")
CONTROLS = ("random", "matched", "shifted", "normed")
MT_BENCH = "mt_bench"  # in records, MT-bench's own judge
POLICIES = ("none", "freeze", "budget")
UNALIGNED, ALIGNED = MODELS = ("unaligned", "aligned")
# All of them: values stand in their order where pictures lay them side by side.
VOCABULARIES = (
    CLASSES,
    STATISTICS,
    FILLS,
    OBJECTIVES,
    PRECISIONS,
    TOKENS,
    STYLES,
    CONTROLS,
    POLICIES,
    MODELS,
)

"""What the benchmarks' options are where they are not given: `--help` and the settings read it.

Nothing is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import Any

PLACE: dict[str, Any] = {"repeats": 3, "seed": 0}
SHAPE: dict[str, Any] = {"response_share": 1.0}
TRAIN: dict[str, Any] = {
    "share": 0.2,
    "frozen_share": 0.07,  # 1 % SCU, and 6 % CU beside them
    "compile": False,
    "masters": True,
    "steps": 5,
    "warmup": 2,
    "checkpointing": False,
}
TRAIN_ON_CPU, TRAIN_ON_CUDA = {"batch": 2, "length": 128}, {"batch": 4, "length": 512}
COUNT: dict[str, Any] = {
    **TRAIN_ON_CUDA,
    "model": "llama2-7b",
    "precision": "bfloat16",
    "steps": 1,
    "warmup": 0,
}
IDENTIFY: dict[str, Any] = {"batches": 2}
IDENTIFY_ON_CPU, IDENTIFY_ON_CUDA = {"batch": 8, "length": 96}, {"batch": 32, "length": 512}
GENERATE: dict[str, Any] = {"prompts": 24, "new_tokens": 32, "batch": 24}
GROWTH: dict[str, Any] = {"threads": 1}

"""How tests start processes of their own: forked off a server that has imported what they need.

A fresh interpreter would import torch and Lightning again, seven seconds each time; forked off the
test process itself, one might inherit a lock that another thread holds.
"""

from __future__ import annotations

import multiprocessing

START_METHOD = "forkserver"

multiprocessing.set_forkserver_preload(
    [
        "ssah_exp.pipeline.dispatch",
        "ssah_exp.training.loop",
        "tabulate",
        "transformers.models.llama.modeling_llama",
    ]
)

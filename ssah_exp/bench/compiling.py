"""torch.compile for the arms that compare compiled with compiled."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import torch

from ssah_exp.models.anatomy import blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_COMPILERS = ("g++", "clang++", "c++")


def why_not(device: str) -> str | None:
    """Why models cannot be compiled for a device here; None = they can."""
    if device.startswith("cuda"):
        return None if torch.utils._triton.has_triton() else "no Triton"
    given = os.environ.get("CXX")
    found = [name for name in ((given,) if given else _COMPILERS) if shutil.which(name)]
    return None if found else "no C++ compiler"


def compile_blocks(model: PreTrainedModel) -> None:
    """Compile the model block by block: blocks are alike, so that one compilation serves many.

    A block whose trained slices have other sizes than those before needs a compilation of its own.
    After a few of these torch would silently run the rest uncompiled: the limit is raised, and
    reaching it is an error.
    """
    layers = blocks(model)
    torch._dynamo.config.recompile_limit = max(8, 2 * len(layers))
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for block in layers:
        block.compile()

"""A further language model from a folder, beside the one under study: a judge, an attacker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ssah_exp.errors import ModelError
from ssah_exp.models.load import DTYPES, move, resolve_device, whole_model
from ssah_exp.models.sources import LocalFolder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(kw_only=True)
class Companion:
    """Where it lies and how it is loaded; it stays in memory beside the model under study.

    Attributes:
        path: Model folder with safetensors weights, tokenizer and, if used, chat template.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``; a second card helps.
    """

    path: str
    precision: str = "bfloat16"
    device: str = "auto"

    @cached_property
    def _digest(self) -> str:
        return LocalFolder(self.path).fingerprint()

    def fingerprint(self) -> str:
        """sha256 over every file of the folder.

        Raises:
            ModelError: No such folder, or no safetensors weights in it.
        """
        return self._digest

    def companion_problems(self) -> Iterator[str]:
        """What is wrong with the settings, in clauses."""
        if self.precision not in DTYPES:
            yield f"precision is one of {', '.join(DTYPES)}"

    def load_companion(self, who: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Load weights, in eval mode on their device, and tokenizer.

        Args:
            who: What errors call it.

        Raises:
            ModelError: Something is missing or cannot be read; see
                :func:`~ssah_exp.models.load.whole_model`.
        """
        from transformers import AutoTokenizer

        self.fingerprint()  # refuses what is no model folder
        folder = str(Path(self.path).expanduser())
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = whole_model(folder, dtype=DTYPES[self.precision])
        except ModelError as error:
            raise ModelError(f"{who} cannot be loaded. {error}") from error
        except (OSError, ValueError) as error:
            raise ModelError(f"{who} cannot be loaded from {folder}: {error}") from error
        move(model, resolve_device(self.device))
        torch.nn.Module.eval(model)
        return model, tokenizer

"""A further language model beside the one under study: a judge, an attacker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ssah_exp.cache import Cache
from ssah_exp.config.ranges import choice
from ssah_exp.errors import ModelError
from ssah_exp.models.device import DTYPES, move, resolve_device
from ssah_exp.models.hf_config import said
from ssah_exp.models.load import attach, whole_model
from ssah_exp.models.sources import (
    HubGguf,
    HubModel,
    LocalFolder,
    LocalGguf,
    ModelSource,
    WheelGguf,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_SOURCES = (WheelGguf, LocalGguf, HubGguf, HubModel, LocalFolder)
LOADED = "_loaded"  # the cached property in which a companion keeps model and tokenizer


@dataclass(kw_only=True)
class Companion:
    """A model kept in memory beside the one under study: where it lies, how it is loaded.

    Attributes:
        weights: Source of the weights, the tokenizer and, if used, the chat template.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``; a second GPU helps.
    """

    weights: ModelSource
    precision: str = "bfloat16"
    device: str = "auto"
    _cache: Cache = field(
        init=False, repr=False, compare=False, default_factory=lambda: Cache(Path("outputs/cache"))
    )

    @cached_property
    def _digest(self) -> str:
        return self.weights.fingerprint()

    def fingerprint(self) -> str:
        """Hash of what decides the weights: of a folder, sha256 over every file.

        Raises:
            ModelError: No such file, folder or wheel, or no weights in it.
        """
        return self._digest

    def convert_in(self, root: Path) -> None:
        """Keep converted weights in ``root/cache``; without this call, in ``outputs/cache``."""
        self._cache = Cache(root / "cache")

    def companion_problems(self, who: str) -> Iterator[str]:
        """What is wrong with the settings, one sentence each.

        Args:
            who: What the sentences call it.
        """
        if not isinstance(self.weights, _SOURCES):
            known = ", ".join(source.__name__ for source in _SOURCES)
            given = type(self.weights).__name__
            yield f"{who}: weights is one of ssah_exp.models.sources: {known}; given is {given}."
        yield from choice(f"{who}: precision", self.precision, DTYPES)

    def release(self) -> None:
        """Let go of what was loaded, to make room; the next question loads it again."""
        self.__dict__.pop(LOADED, None)

    def load_companion(self, who: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Load weights with their adapter, in eval mode on their device, and tokenizer.

        Code that lies beside them is never run: nothing would say so in the record.

        Args:
            who: What error messages call it.

        Raises:
            ModelError: Something is missing or cannot be read, or the device is not available;
                see :func:`~ssah_exp.models.load.whole_model`.
        """
        from transformers import AutoTokenizer

        device = resolve_device(self.device, f"{who}: device")
        self.fingerprint()  # refuses what is no model folder
        ref, _ = self.weights.resolve(self._cache)
        place = ref.location
        try:
            # Left open, transformers asks at the terminal whether to run the folder's own code.
            own = {"revision": ref.commit, "trust_remote_code": False}
            tokenizer = AutoTokenizer.from_pretrained(place, **own)
            model = whole_model(place, dtype=DTYPES[self.precision], **own)
            move(model, device)
            attach(model, place, ref.commit)
        except ModelError as error:
            raise ModelError(f"{who} cannot be loaded. {error}") from error
        except RuntimeError:  # as in :func:`whole_model`
            raise
        except Exception as error:  # a damaged tokenizer
            raise ModelError(f"{who} cannot be loaded from {place}: {said(error)}") from error
        torch.nn.Module.eval(model)
        return model, tokenizer

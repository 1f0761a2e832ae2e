"""Attached adapters on disk: the sub-folder ``adapter/`` of a model folder, as PEFT writes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ssah_exp.errors import ModelError
from ssah_exp.jsontext import json_of
from ssah_exp.models.attached.base import Attached, attached_to
from ssah_exp.models.attached.llama_adapter import AdaptionPrompts
from ssah_exp.models.attached.prefix import LearnedPrefix
from ssah_exp.storage import write_atomically

ADAPTER = "adapter"
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_KINDS: dict[str, Callable[..., Attached]] = {
    "PREFIX_TUNING": LearnedPrefix.saved,
    "ADAPTION_PROMPT": AdaptionPrompts.saved,
}


def save_adapter(model: nn.Module, folder: Path) -> None:
    """Write the adapter that ``model`` carries, if any, into ``folder/adapter``.

    PEFT reads the result as one of its own. No pickled file and no path is written.
    """
    attached = attached_to(model)
    if attached is None:
        return
    (folder / ADAPTER).mkdir(parents=True, exist_ok=True)
    tensors = {name: item.detach().cpu() for name, item in attached.parameters.items()}
    save_file(tensors, folder / ADAPTER / _WEIGHTS, {"format": "pt"})
    config = {**attached.config, "inference_mode": True, "base_model_name_or_path": None}
    write_atomically(folder / ADAPTER / _CONFIG, json.dumps(config, indent=1, sort_keys=True))


def has_adapter(folder: Path) -> bool:
    """Whether a model folder comes with an adapter to put in."""
    return (folder / ADAPTER).is_dir()


def load_adapter(model: nn.Module, folder: Path) -> Attached:
    """Put the adapter in ``folder/adapter`` into ``model``.

    Raises:
        ModelError: It is missing, damaged, of another model or of a kind that is not attached.
    """
    place = folder / ADAPTER
    try:
        config: dict[str, Any] = json_of((place / _CONFIG).read_text("utf-8"))
        kind = config["peft_type"]
        tensors = load_file(place / _WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"The adapter in {place} is missing or damaged: {error}") from error
    if kind not in _KINDS:
        raise ModelError(
            f"The adapter in {place} is of kind {kind}. Only {' and '.join(_KINDS)} are put into a "
            "model beside its weights; merge others into the weights."
        )
    try:
        return _KINDS[kind](model, tensors, config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{place / _CONFIG} is damaged: {error!r}") from error

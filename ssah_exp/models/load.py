"""Loading weights and tokenizer, checked, in eval mode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ssah_exp.cache import note_use
from ssah_exp.config.schema import ModelConfig
from ssah_exp.errors import ModelError
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.attached.folder import has_adapter, load_adapter
from ssah_exp.models.attached.reading import vocabulary
from ssah_exp.models.device import DTYPES, move, resolve_device
from ssah_exp.models.hf_config import load_config, said
from ssah_exp.models.load_tokenizer import load_speech
from ssah_exp.models.placement import first_device, offloaded, placement
from ssah_exp.models.sharded import is_sharded
from ssah_exp.models.sidecar import sidecar_folder
from ssah_exp.models.sizes import Anatomy
from ssah_exp.models.tokenizer import Speech

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# transformers recognises an adapter by this file in a folder or repository.
_ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for forward passes.

    Attributes:
        model: A causal language model in eval mode.
        speech: Its tokenizer with special tokens resolved.
    """

    model: PreTrainedModel
    speech: Speech

    @cached_property
    def anatomy(self) -> Anatomy:
        """Sizes read from the weights."""
        return read_anatomy(self.model)

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        placed = placement(self.model)
        return first_device(placed) if placed else next(self.model.parameters()).device

    @property
    def placed(self) -> bool:
        """Whether weights lie on several devices or are split over ranks, and must not be moved."""
        return bool(placement(self.model)) or is_sharded(self.model)


def load_model(
    location: str, config: ModelConfig, revision: str | None = None, *, on_host: bool = False
) -> LoadedModel:
    """Load weights and tokenizer, and put in the adapter that lies beside the weights, if any.

    Where the folder is one of the cache's, that notes the use.

    Args:
        location: A folder or a hub repository id.
        config: Precision, device and kernels.
        revision: Commit, for hub repositories.
        on_host: Leave the weights in main memory, from where ranks take their shards.

    Raises:
        ModelError: As :func:`whole_model` and :func:`load_speech`; or weights are quantised, the
            attention kernel lacks what the model needs, the device is not available, the family
            has no anatomy entry, the adapter is damaged, of another model or to be offloaded, or
            the model has no embedding for a special token or for words of the vocabulary.
    """
    from transformers.utils import logging

    _check_config(load_config(location, config, revision), config, location)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # stages report themselves
    mapped: dict[str, Any] = {}
    if config.device_map is not None:
        mapped = {"device_map": config.device_map, "offload_folder": config.offload_folder}
    model = whole_model(
        location,
        revision=revision,
        dtype=DTYPES[config.precision],
        attn_implementation=config.attn_implementation,
        trust_remote_code=config.trust_remote_code,
        **mapped,
    )
    read_anatomy(model)
    if config.device_map is None and not on_host:
        move(model, resolve_device(config.device))
    attach(model, location, revision)
    torch.nn.Module.eval(model)
    speech = load_speech(location, config, revision)
    _check_vocabulary(model, speech, location)
    note_use(Path(location))
    return LoadedModel(model, speech)


def attach(model: PreTrainedModel, location: str, revision: str | None) -> None:
    """Put in the adapter that lies beside a model's weights, if any.

    Args:
        model: As loaded from there, on its device.
        location: A folder or a hub repository id.
        revision: Commit, for hub repositories.

    Raises:
        ModelError: The adapter is damaged, of another model, or its model is offloaded.
    """
    folder = sidecar_folder(location, revision)
    if not has_adapter(folder):
        return
    if offloaded(model):
        raise ModelError(
            f"The model in {location} carries an adapter beside its weights, which cannot be "
            "offloaded: model.device_map may name devices that compute, not cpu or disk."
        )
    load_adapter(model, folder)


def _check_config(found: Any, config: ModelConfig, location: str) -> None:
    """Refuse, judging by its config, a model that would be loaded and then read wrongly.

    Scores, folded ablations and training read weights as they are stored. Those of a quantised
    model are packed, or lack their scales.

    Raises:
        ModelError: Weights are quantised, or attention scores are capped, which the kernel cannot.
    """
    if quantised := getattr(found, "quantization_config", None):
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        raise ModelError(
            f"The weights in {location} are quantised ({method or 'quantization_config'}). Scores "
            "and training read plain weights: take the model as it was before, or save it "
            "de-quantised and without quantization_config in its config.json."
        )
    # Early transformers 5 does not refuse this combination, and leaves the caps out.
    if config.attn_implementation == "sdpa" and getattr(found, "attn_logit_softcapping", None):
        raise ModelError(
            f"The model in {location} caps its attention scores, and the kernel sdpa does not. "
            "Add model.attn_implementation=eager to 'ssah-exp run', or --set "
            "model.attn_implementation=eager to a command that reopens a finished run."
        )


def _check_vocabulary(model: PreTrainedModel, speech: Speech, location: str) -> None:
    """Refuse tokens for which the model has no embedding: often a pad token added later.

    Tokens added to a vocabulary may lie beyond the embeddings, as long as no text has them.

    Raises:
        ModelError: Padding, the end of turn or a word of the vocabulary has no embedding. Else
            a GPU only says that an assertion failed, and a CPU that an index is out of range.
    """
    embedded = vocabulary(model)
    if (words := speech.tokenizer.vocab_size) > embedded:
        raise ModelError(
            f"The tokenizer in {location} has a vocabulary of {words} tokens, but the model has "
            f"embeddings for {embedded}. Is it another model's? Save the model's own beside it."
        )
    for name, token in (("pad token", speech.pad_id), ("model.end_of_turn", speech.end_of_turn)):
        if token >= embedded:
            raise ModelError(
                f"The tokenizer in {location} has {name} {token}, but the model has embeddings for "
                f"{embedded} tokens. Save it with resized embeddings, or without that token."
            )


def whole_model(location: str, **options: Any) -> PreTrainedModel:
    """Load a causal language model, and make sure that every weight was read.

    With no more than a warning, transformers draws at random the weights that it does not find, and
    puts in an adapter that lies beside them: neither result would be the model that was named.

    Args:
        location: A folder or a hub repository id.
        options: Further arguments of ``from_pretrained``.

    Raises:
        ModelError: The weights cannot be found or read, are not all there, or come with an adapter
            for transformers to put in.
        RuntimeError: As torch raises it, for instance for lack of memory.
    """
    from transformers import AutoModelForCausalLM

    if (Path(location) / _ADAPTER_CONFIG).is_file():
        raise ModelError(_adapted(location))
    try:
        read: Any = AutoModelForCausalLM.from_pretrained(
            location,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with their names
            **options,
        )
    except RuntimeError:  # no memory, or a device: not the model's fault
        raise
    except Exception as error:  # a package is missing, a file truncated, a model's own code broken
        raise ModelError(f"No model could be loaded from {location}: {said(error)}") from error
    model: PreTrainedModel
    model, found = read
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ModelError(_adapted(location))
    lacking = {*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])}
    if lacking:
        raise ModelError(
            f"{location} has no weights for {len(lacking)} tensors of its model, or has them in "
            f"another shape: {', '.join(sorted(lacking)[:3])}. Is it a causal language model, "
            "saved whole?"
        )
    _say_if_untied(model)
    return model


def _say_if_untied(model: PreTrainedModel) -> None:
    """Let the config say so where the files hold an LM head other than the embeddings it ties.

    transformers then ties nothing, with a warning, and leaves the config as it is. An ablation that
    is folded into the weights, and programs that read what is saved, would tie the two.
    """
    whole: Any = model
    if not getattr(whole.config, "tie_word_embeddings", False):
        return
    ends = (whole.get_input_embeddings(), whole.get_output_embeddings())
    embeddings, head = (getattr(end, "weight", None) for end in ends)
    if embeddings is None or head is None or embeddings is head:
        return
    away = "meta" in (embeddings.device.type, head.device.type)
    if not away and not torch.equal(head.to(embeddings.device), embeddings):
        whole.config.tie_word_embeddings = False


def _adapted(location: str) -> str:
    return (
        f"{location} holds an {_ADAPTER_CONFIG}: an adapter to put into a model. Merge it into the "
        "weights and save those."
    )

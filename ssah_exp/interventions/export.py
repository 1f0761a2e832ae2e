"""A model, ablated or not, as an ordinary Hugging Face folder that needs no hooks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedModel

from ssah_exp.errors import ModelError
from ssah_exp.interventions.ablate import Ablation
from ssah_exp.models.anatomy import blocks, family_of, output_projection, output_projection_name
from ssah_exp.models.attached.base import attached_to
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.placement import offloaded
from ssah_exp.models.sizes import KINDS, Kind
from ssah_exp.storage import refuse_existing, whole_folder

# Family -> kind -> the key of its config that gives the output projection a bias. The same key
# gives one to the input projections beside it.
_BIAS_KEYS: dict[str, dict[Kind, str]] = {
    "llama": {"attention": "attention_bias", "mlp": "mlp_bias"},
    "qwen3": {"attention": "attention_bias"},
    "gemma": {"attention": "attention_bias"},
    "gemma2": {"attention": "attention_bias"},
    "gemma3_text": {"attention": "attention_bias"},
}
# Families that are Llama with other defaults, unless the named key of their config is set.
_LIKE_LLAMA = {"mistral": "sliding_window", "qwen2": "use_sliding_window"}
_LLAMA_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "rope_parameters",
    "tie_word_embeddings",
    "attention_dropout",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "dtype",
)


def export_model(
    loaded: LoadedModel,
    ablation: Ablation | None,
    out: Path,
    add: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write a folder that any program loads, equal to the hooked model up to rounding.

    The columns of an output projection that belong to ablated units become zero, and what their
    constants contributed becomes its bias. (Zeroing the rows that produce a unit would do the same
    if all of them were its own; heads that share keys and values have shared rows.)

    Args:
        loaded: The model without hooks, and its tokenizer; it is left as it is.
        ablation: What is ablated in it; None = nothing.
        out: The new folder; it appears by one rename, when all is written.
        add: Called with the unfinished folder, to put further files into it.

    Raises:
        ModelError: The family's output projections can have no bias and the constants need one,
            an adapter that acts through hooks is attached, or weights to ablate are offloaded.
        StoreError: ``out`` exists, or the disk is full or not writable.
    """
    refuse_existing(out)
    exported = _folded(loaded.model, ablation)
    with whole_folder(out) as work:
        exported.save_pretrained(work)
        loaded.speech.tokenizer.save_pretrained(work)
        add(work)


def _folded(model: PreTrainedModel, ablation: Ablation | None) -> PreTrainedModel:
    if attached_to(model) is not None:
        raise ModelError(
            "The model carries an adapter that acts through hooks, which no plain folder holds; it "
            "can be measured with evaluation.engine=transformers."
        )
    if ablation is None:
        return model
    if offloaded(model):
        raise ModelError(
            "Weights are offloaded (model.device_map), and an ablation is put into weights in "
            "memory. Give model.device_map=null model.device=cpu: no pass is computed."
        )
    biases = _biases(model, ablation)
    config = _config_with_biases(model, _needed(biases))
    # On the meta device: weights are put in below, and those that stay as they are are not copied.
    with torch.device("meta"):
        make = AutoModelForCausalLM.from_config
        exported: PreTrainedModel = make(config, dtype=model.dtype)  # type: ignore[no-untyped-call]
    state = dict(model.state_dict())
    for (layer, kind), bias in biases.items():
        name = output_projection_name(model, layer, kind)
        weight = state[f"{name}.weight"].clone()
        weight[:, ablation.masks[kind][layer].to(weight.device)] = 0
        state[f"{name}.weight"] = weight
        if exported.get_submodule(name).bias is not None:
            own = state.get(f"{name}.bias")
            whole = bias if own is None else bias + own.double()
            state[f"{name}.bias"] = whole.to(weight.dtype)
    for name, parameter in exported.named_parameters():
        if name not in state:  # the biases of other projections that the config's key brings along
            state[name] = torch.zeros(parameter.shape, dtype=model.dtype, device=model.device)
    exported.load_state_dict(state, assign=True)
    exported.tie_weights()
    exported.generation_config = copy.deepcopy(model.generation_config)
    return exported


def _biases(model: PreTrainedModel, ablation: Ablation) -> dict[tuple[int, Kind], torch.Tensor]:
    """What the constants contribute, per ablated block and kind: ``(hidden,)`` float64."""
    found: dict[tuple[int, Kind], torch.Tensor] = {}
    for kind in KINDS:
        for layer in range(len(blocks(model))):
            mask = ablation.masks[kind][layer]
            if mask.any():
                weight = output_projection(model, layer, kind).weight
                assert isinstance(weight, torch.Tensor)
                # The hook puts in the constants in the weights' own precision.
                fill = ablation.fills[kind][layer][mask].to(weight.device, weight.dtype)
                columns = weight.detach()[:, mask.to(weight.device)]
                found[layer, kind] = columns.double() @ fill.double()
    return found


def _needed(biases: dict[tuple[int, Kind], torch.Tensor]) -> set[Kind]:
    return {kind for (_, kind), bias in biases.items() if bias.any()}


def _config_with_biases(model: PreTrainedModel, kinds: set[Kind]) -> PreTrainedConfig:
    """The model's config with biases where needed; Llama's for one that is Llama in all but name.

    Raises:
        ModelError: The family has no such biases.
    """
    config: PreTrainedConfig = copy.deepcopy(model.config)
    if not kinds:
        return config
    name, _ = family_of(model)
    if name in _LIKE_LLAMA and not getattr(config, _LIKE_LLAMA[name], None):
        values = {key: getattr(config, key) for key in _LLAMA_KEYS if hasattr(config, key)}
        config = LlamaConfig(**values, attention_bias=name == "qwen2")
        name = "llama"
    keys = _BIAS_KEYS.get(name, {})
    if missing := sorted(kinds - keys.keys()):
        able = sorted(other for other, found in _BIAS_KEYS.items() if kinds <= set(found))
        able += [f"{other} without sliding windows" for other in sorted(_LIKE_LLAMA)]
        raise ModelError(
            f"A {name} model cannot be exported with these units ablated by a mean: its "
            f"{' and '.join(missing)} output projections have no bias to hold the constants "
            f"(families that can have: {', '.join(able)}). Ablate with fill zero, or measure with "
            "evaluation.engine=transformers."
        )
    for kind in kinds:
        setattr(config, keys[kind], True)
    return config

"""LLaMA-Adapter (Zhang et al. 2023, arXiv 2303.16199): gated attention to learned prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ssah_exp.errors import ModelError
from ssah_exp.models.anatomy import blocks, family_of, output_projection
from ssah_exp.models.attached.base import Attached, check_values
from ssah_exp.models.attached.peft_library import peft_library

# Where PEFT's AdaptionPrompt works, among the families with an anatomy entry.
FAMILIES = ("llama", "mistral")
_PROMPT, _GATE = "adaption_prompt", "adaption_gate"


class AdaptionPrompts(Attached):
    """Lets the heads of the topmost blocks attend to learned prompts as well.

    What they read there, times a gate that starts at zero, is added to what they hand to the output
    projection. (PEFT sends it through the projection separately, with the same result; here,
    ablation and statistics see all of a head's output.)

    Args:
        model: A causal language model of one of :data:`FAMILIES`.
        tensors: By PEFT's names, per block a prompt ``(1, length, hidden)`` and a gate ``(1,)``.
        layers: How many blocks, from the top.
        config: PEFT's description.
    """

    def __init__(
        self,
        model: nn.Module,
        tensors: Mapping[str, torch.Tensor],
        layers: int,
        config: Mapping[str, Any],
    ) -> None:
        chosen = _chosen(model, layers)
        names = {name: number for number in chosen for name in _names(model, number)}
        near = {name: chosen[number].q_proj.weight for name, number in names.items()}
        super().__init__(model, tensors, near, config)
        for number, attention in chosen.items():
            prompt, gate = (self.parameters[name] for name in _names(model, number))
            hooked = _PromptedAttention(self, attention, prompt, gate)
            projection = output_projection(model, number, "attention")
            self._hooks += [
                attention.register_forward_pre_hook(hooked.read, with_kwargs=True),
                # Before the hooks of ablation and statistics.
                projection.register_forward_pre_hook(hooked.add, prepend=True),
            ]

    @classmethod
    def new(cls, model: nn.Module, length: int, layers: int | None) -> AdaptionPrompts:
        """Untrained prompts of ``length`` with PEFT's random start, in the topmost ``layers``.

        Args:
            model: A causal language model of one of :data:`FAMILIES`.
            length: Positions per prompt.
            layers: How many blocks, from the top; None = :func:`usual_layers`.

        Raises:
            ConfigError: PEFT is not installed.
            ModelError: PEFT does not know the family, or the model has fewer blocks.
        """
        check_family(model)
        peft = peft_library()
        layers = usual_layers(model) if layers is None else layers
        config = peft.AdaptionPromptConfig(
            task_type="CAUSAL_LM",
            target_modules="self_attn",
            adapter_len=length,
            adapter_layers=layers,
        )
        tensors: dict[str, torch.Tensor] = {}
        for number, attention in _chosen(model, layers).items():
            adapted = peft.tuners.adaption_prompt.AdaptedAttention(
                family_of(model)[0], length, attention
            )
            values = (adapted.adaption_prompt, adapted.adaption_gate)
            tensors.update(zip(_names(model, number), values, strict=True))
        return cls(model, tensors, layers, config.to_dict())

    @classmethod
    def saved(
        cls, model: nn.Module, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]
    ) -> AdaptionPrompts:
        """Prompts as they were saved.

        Raises:
            ModelError: They are of another model.
        """
        check_family(model)
        length, layers = int(config["adapter_len"]), int(config["adapter_layers"])
        shapes: dict[str, tuple[int, ...]] = {}
        for number, attention in _chosen(model, layers).items():
            prompt, gate = _names(model, number)
            shapes |= {prompt: (1, length, attention.config.hidden_size), gate: (1,)}
        check_values(tensors, shapes)
        return cls(model, tensors, layers, config)


class _PromptedAttention:
    """The hooks of one block."""

    def __init__(
        self, owner: Attached, attention: Any, prompt: nn.Parameter, gate: nn.Parameter
    ) -> None:
        self._owner = owner
        self._attention = attention
        self._prompt = prompt
        self._gate = gate
        self._read: torch.Tensor | None = None

    def read(self, attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Pre-hook of the attention module: compute what its heads read from the prompt."""
        self._owner.place()
        hidden: torch.Tensor = kwargs["hidden_states"]
        width = self._attention.head_dim
        query = _heads(self._attention.q_proj(hidden), width)
        query = _rotated(query, *kwargs["position_embeddings"])
        prompt = self._prompt.to(hidden.dtype)
        keys = _heads(self._attention.k_proj(prompt), width)
        values = _heads(self._attention.v_proj(prompt), width)
        group = query.shape[1] // keys.shape[1]
        keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
        scores = query @ keys.transpose(2, 3) / math.sqrt(width)
        weights = self._gate * scores.softmax(-1, dtype=torch.float32)  # (B, heads, T, length)
        read = weights.to(hidden.dtype) @ values
        self._read = read.transpose(1, 2).flatten(2)

    def add(self, projection: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Pre-hook of the output projection: ``(B, T, heads * head_dim)`` plus what was read."""
        read, self._read = self._read, None
        assert read is not None
        return (inputs[0] + read, *inputs[1:])


def check_family(model: nn.Module) -> None:
    """Refuse models whose attention PEFT's AdaptionPrompt does not know.

    Raises:
        ModelError: The family is another; the message names those that work.
    """
    name, _ = family_of(model)
    if name not in FAMILIES:
        raise ModelError(
            f"LLaMA-Adapter works on models of the families {' and '.join(FAMILIES)}; this one is "
            f"'{name}'. LoRA and prefix tuning work on every family. In a table, leave its arm out "
            "with '~training.arms.NAME'."
        )


def usual_layers(model: nn.Module) -> int:
    """Every block but the lowest two, as in the method's paper: 30 of 32; at least one."""
    return max(1, len(blocks(model)) - 2)


def check_layers(model: nn.Module, layers: int) -> None:
    """Refuse more blocks than there are.

    Raises:
        ModelError: There are fewer; the message says how many.
    """
    if layers > len(blocks(model)):
        raise ModelError(f"LLaMA-Adapter in {layers} blocks: the model has {len(blocks(model))}.")


def _chosen(model: nn.Module, layers: int) -> dict[int, Any]:
    """Attention modules of the topmost blocks by block number."""
    check_layers(model, layers)
    every = blocks(model)
    first = len(every) - layers
    return {number: every[number].self_attn for number in range(first, len(every))}


def _names(model: nn.Module, number: int) -> tuple[str, str]:
    """PEFT's names of a block's prompt and gate."""
    place = f"base_model.model.{family_of(model)[1].blocks}.{number}.self_attn"
    return f"{place}.{_PROMPT}", f"{place}.{_GATE}"


def _heads(flat: torch.Tensor, width: int) -> torch.Tensor:
    """``(B, T, heads * width)`` -> ``(B, heads, T, width)``."""
    return flat.view(*flat.shape[:2], -1, width).transpose(1, 2)


def _rotated(query: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding of queries; the prompts have no positions."""
    first, second = query.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return query * cos.unsqueeze(1) + turned * sin.unsqueeze(1)

"""Anatomy of a decoder: which module holds what, read from weight shapes.

Every dimension the project uses comes from here; :mod:`ssah_exp.models.sizes` holds them as values.
Grouped-query attention, ``head_dim`` other than ``hidden / heads`` and fused projections are
handled in this file and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssah_exp.errors import ModelError
from ssah_exp.models.placement import weights_at_hand, whole
from ssah_exp.models.sizes import Anatomy, Kind


@dataclass(frozen=True)
class Family:
    """Module paths of one model family, and how it reads a text.

    ``blocks`` and ``final_norm`` are relative to the model, the others to a block.
    ``attention_in`` and ``mlp_in`` name the modules whose rows belong to heads and to neurons;
    ``attention_out`` and ``mlp_out`` the ones whose input channels do (B in protocol section 1).
    A fused projection is one name where others have several. ``needs_bos``: a text without the
    beginning-of-text token is foreign to it.
    """

    blocks: str = "model.layers"
    final_norm: str = "model.norm"
    attention_in: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    attention_out: str = "self_attn.o_proj"
    mlp_in: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    mlp_out: str = "mlp.down_proj"
    needs_bos: bool = False


# transformers' `model_type` -> module paths. Adding a family is adding a line here (and a tiny
# random config of it to tests/tiny.py, where every shared test then runs on it).
FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(),
    "qwen3": Family(),
    "gemma": Family(needs_bos=True),
    "gemma2": Family(needs_bos=True),
    "gemma3_text": Family(needs_bos=True),
    "phi3": Family(attention_in=("self_attn.qkv_proj",), mlp_in=("mlp.gate_up_proj",)),
}


def family_of(model: nn.Module) -> tuple[str, Family]:
    """Look up the model's family by its config's ``model_type``.

    Raises:
        ModelError: No entry; the message tells how to add one.
    """
    name = str(getattr(getattr(model, "config", None), "model_type", "unknown"))
    if name not in FAMILIES:
        raise ModelError(
            f"Model family '{name}' has no anatomy entry. Known: {', '.join(sorted(FAMILIES))}. "
            "To add one, add a line to FAMILIES in ssah_exp/models/anatomy.py that names its "
            "blocks, attention and MLP projections, and a tiny config of it to tests/tiny.py."
        )
    return name, FAMILIES[name]


def reads_from_bos(config: Any) -> bool:
    """Whether a model of this transformers config reads no text without its first token."""
    family = FAMILIES.get(str(getattr(config, "model_type", "unknown")))
    return family is not None and family.needs_bos


def blocks(model: nn.Module) -> Sequence[nn.Module]:
    """The decoder blocks, in order."""
    _, family = family_of(model)
    found = model.get_submodule(family.blocks)
    assert isinstance(found, nn.ModuleList)
    return list(found)


def final_norm(model: nn.Module) -> nn.Module:
    """The norm after the last block; its input is the last block's output."""
    _, family = family_of(model)
    return model.get_submodule(family.final_norm)


def output_projection(model: nn.Module, layer: int, kind: Kind) -> nn.Module:
    """The module whose input channels are units: ``o_proj`` or ``down_proj`` of one block."""
    return model.get_submodule(output_projection_name(model, layer, kind))


def output_projection_name(model: nn.Module, layer: int, kind: Kind) -> str:
    """Name of the :func:`output_projection`, as in ``model.named_modules()``."""
    _, family = family_of(model)
    path = family.attention_out if kind == "attention" else family.mlp_out
    return f"{family.blocks}.{layer}.{path}"


def output_column_norms(model: nn.Module, kind: Kind) -> torch.Tensor:
    """Squared L2 norm of every column of the output projections, ||W^B_:,j||^2.

    Returns:
        ``(layers, channels)`` float64 on CPU.

    Raises:
        ModelError: NaN or infinite weights, naming the layer. In the last block no activation that
            is looked at would show them.
    """
    rows = []
    for layer in range(len(blocks(model))):
        module = output_projection(model, layer, kind)
        with weights_at_hand(module):
            weight = whole(_weight(module).detach())
            rows.append(weight.double().square().sum(dim=0).cpu())
    norms = torch.stack(rows)
    if not bool(norms.isfinite().all()):
        layer = int((~norms.isfinite()).any(dim=1).nonzero()[0])
        raise ModelError(
            f"NaN or infinite weights in the {kind} output projection of layer {layer}."
        )
    return norms


def check_head(model: nn.Module) -> None:
    """Refuse a model whose final norm or LM head could give no logits.

    No activation that is looked at would show it: those all lie before.

    Raises:
        ModelError: NaN or infinite weights, naming the module.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    for what, module in (("final norm", final_norm(model)), ("LM head", head)):
        with weights_at_hand(module):
            weight = whole(module.get_parameter("weight").detach())
            # Unlike isfinite, this takes no memory: a head may have a billion weights.
            ends = torch.stack(torch.aminmax(weight))
        if not bool(ends.isfinite().all()):
            raise ModelError(
                f"NaN or infinite weights in the {what}: the model's logits are no numbers. Load "
                "the weights again, or take others."
            )


@dataclass(frozen=True)
class UnitTensor:
    """A parameter whose rows or columns belong to the units of one block.

    Attributes:
        name: As in ``model.named_parameters()``.
        layer: Its block.
        kind: ``attention``: heads own it; ``mlp``: neurons do.
        dim: 0 = rows (and biases) belong to units, 1 = columns do.
        segments: ``(units per position group, positions per group)`` of each part along ``dim``:
            a query projection is ``(1, head_dim)``, a key projection of grouped-query attention
            ``(query heads per key-value head, head_dim)``; a fused projection has several parts.
    """

    name: str
    layer: int
    kind: Kind
    dim: int
    segments: tuple[tuple[int, int], ...]

    def summed(self, positions: torch.Tensor, units: int) -> torch.Tensor:
        """Sum over the positions of each unit; units that share positions get equal parts of them.

        Args:
            positions: ``(size along dim,)``, one number per position.
            units: Heads or neurons of this tensor's block and kind.

        Returns:
            ``(units,)``, of the dtype of ``positions``.
        """
        sizes = [units // group * width for group, width in self.segments]
        total = positions.new_zeros(units)
        for part, (group, width) in zip(torch.split(positions, sizes), self.segments, strict=True):
            shared = part.reshape(-1, width).sum(dim=1) / group
            total += shared.repeat_interleave(group)
        return total

    def covered(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Positions along ``dim`` that belong to nothing but chosen units.

        A key-value head is shared by several query heads: it is covered only if all of them are
        chosen.

        Args:
            chosen: ``(heads,)`` or ``(neurons,)`` bool, the units of this tensor's block and kind.

        Returns:
            ``(size along dim,)`` bool.
        """
        parts = [
            np.repeat(chosen.reshape(-1, group).all(axis=1), width)
            for group, width in self.segments
        ]
        return np.concatenate(parts)


def unit_tensors(model: nn.Module) -> Iterator[UnitTensor]:
    """Every parameter that units own, block by block.

    Biases of input projections belong to units as their rows do. Biases of output projections,
    norms, embeddings and the LM head belong to none.
    """
    anatomy, (_, family) = read_anatomy(model), family_of(model)
    for layer, block in enumerate(blocks(model)):
        paths: list[tuple[Kind, int, str]] = [
            *(("attention", 0, path) for path in family.attention_in),
            ("attention", 1, family.attention_out),
            *(("mlp", 0, path) for path in family.mlp_in),
            ("mlp", 1, family.mlp_out),
        ]
        for kind, dim, path in paths:
            segments = _segments(anatomy, family, kind, dim, path)
            module, prefix = block.get_submodule(path), f"{family.blocks}.{layer}.{path}"
            yield UnitTensor(f"{prefix}.weight", layer, kind, dim, segments)
            if dim == 0 and getattr(module, "bias", None) is not None:
                yield UnitTensor(f"{prefix}.bias", layer, kind, dim, segments)


def _segments(
    anatomy: Anatomy, family: Family, kind: Kind, dim: int, path: str
) -> tuple[tuple[int, int], ...]:
    if kind == "mlp":
        parts = 1 if dim == 1 else 3 - len(family.mlp_in)  # one fused module, or gate and up apart
        return ((1, 1),) * parts
    query = (1, anatomy.head_dim)
    key_value = (anatomy.heads // anatomy.kv_heads, anatomy.head_dim)
    if dim == 1:
        return (query,)
    if len(family.attention_in) == 1:
        return (query, key_value, key_value)
    return (query,) if path == family.attention_in[0] else (key_value,)


def read_anatomy(model: nn.Module) -> Anatomy:
    """Read all sizes from weight shapes; only the number of query heads comes from the config.

    Raises:
        ModelError: Unknown family, blocks of different sizes, or weights that no sizes can be read
            from.
    """
    name, family = family_of(model)
    found = {_block_sizes(model, block, family) for block in blocks(model)}
    if len(found) != 1:
        raise ModelError(f"Blocks of family '{name}' differ in size: {sorted(found)}.")
    heads, kv_heads, head_dim, neurons, hidden, head_weights, neuron_weights = found.pop()
    return Anatomy(
        family=name,
        layers=len(blocks(model)),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        neurons=neurons,
        hidden=hidden,
        head_parameters=head_weights / heads,
        neuron_parameters=neuron_weights / neurons,
    )


def _block_sizes(
    model: nn.Module, block: nn.Module, family: Family
) -> tuple[int, int, int, int, int, int, int]:
    attention_in = [_weight(block.get_submodule(path)) for path in family.attention_in]
    mlp_in = [_weight(block.get_submodule(path)) for path in family.mlp_in]
    attention_out = _weight(block.get_submodule(family.attention_out))
    mlp_out = _weight(block.get_submodule(family.mlp_out))
    hidden, query_width = attention_out.shape
    heads = int(model.config.num_attention_heads)  # type: ignore[union-attr, arg-type]
    head_dim, rest = divmod(query_width, heads)
    if rest:
        raise ModelError(f"{query_width} attention channels do not divide by {heads} heads.")
    key_value_width = sum(weight.shape[0] for weight in attention_in) - query_width
    return (
        heads,
        key_value_width // (2 * head_dim),
        head_dim,
        mlp_out.shape[1],
        hidden,
        sum(weight.numel() for weight in attention_in) + attention_out.numel(),
        sum(weight.numel() for weight in mlp_in) + mlp_out.numel(),
    )


def _weight(module: nn.Module) -> torch.Tensor:
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.dim() != 2:
        raise ModelError(f"{type(module).__name__} has no 2-D weight to read sizes from.")
    return weight

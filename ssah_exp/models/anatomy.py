"""Anatomy of a decoder: which module holds what, read from weight shapes.

Every dimension the project uses comes from here. Grouped-query attention, ``head_dim`` other than
``hidden / heads`` and fused projections are handled in this file and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from ssah_exp.errors import ModelError

Kind = Literal["attention", "mlp"]
KINDS: tuple[Kind, Kind] = ("attention", "mlp")


@dataclass(frozen=True)
class Family:
    """Module paths of one model family, relative to the model or to one block.

    ``attention_in`` and ``mlp_in`` name the modules whose rows belong to heads and to neurons;
    ``attention_out`` and ``mlp_out`` the ones whose input channels do (B in protocol section 1).
    A fused projection is one name where others have several.
    """

    blocks: str = "model.layers"
    attention_in: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    attention_out: str = "self_attn.o_proj"
    mlp_in: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    mlp_out: str = "mlp.down_proj"


# transformers' `model_type` -> module paths. Adding a family is adding a line here (and a tiny
# random config of it to tests/tiny.py, where every shared test then runs on it).
FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(),
    "qwen3": Family(),
    "gemma": Family(),
    "gemma2": Family(),
    "phi3": Family(attention_in=("self_attn.qkv_proj",), mlp_in=("mlp.gate_up_proj",)),
}


@dataclass(frozen=True)
class Anatomy:
    """Sizes of one model, the same for every block.

    Attributes:
        family: transformers' ``model_type``.
        layers: Number of blocks.
        heads: Query heads per block.
        kv_heads: Key-value heads per block.
        head_dim: Channels per head.
        neurons: MLP intermediate neurons per block.
        hidden: Width of the residual stream.
        head_parameters: Weights of a block's attention divided by its query heads.
        neuron_parameters: Weights of a block's MLP divided by its neurons.
    """

    family: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    neurons: int
    hidden: int
    head_parameters: float
    neuron_parameters: float

    @property
    def units(self) -> int:
        """Heads and neurons of all blocks."""
        return self.layers * (self.heads + self.neurons)

    def channels(self, kind: Kind) -> int:
        """Input channels of ``o_proj`` (``attention``) or ``down_proj`` (``mlp``)."""
        return self.heads * self.head_dim if kind == "attention" else self.neurons

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


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


def blocks(model: nn.Module) -> Sequence[nn.Module]:
    """The decoder blocks, in order."""
    _, family = family_of(model)
    found = model.get_submodule(family.blocks)
    assert isinstance(found, nn.ModuleList)
    return list(found)


def output_projection(model: nn.Module, layer: int, kind: Kind) -> nn.Module:
    """The module whose input channels are units: ``o_proj`` or ``down_proj`` of one block."""
    _, family = family_of(model)
    path = family.attention_out if kind == "attention" else family.mlp_out
    return blocks(model)[layer].get_submodule(path)


def output_column_norms(model: nn.Module, kind: Kind) -> torch.Tensor:
    """Squared L2 norm of every column of the output projections, ||W^B_:,j||^2.

    Returns:
        ``(layers, channels)`` float64 on CPU.
    """
    rows = []
    for layer in range(len(blocks(model))):
        weight = _weight(output_projection(model, layer, kind))
        rows.append(weight.detach().double().square().sum(dim=0).cpu())
    return torch.stack(rows)


def read_anatomy(model: nn.Module) -> Anatomy:
    """Read all sizes from weight shapes; only the number of query heads comes from the config.

    Raises:
        ModelError: Unknown family, or blocks of different sizes.
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

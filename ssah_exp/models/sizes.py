"""Sizes of a decoder as values, without the model or torch: what lies on disk needs no more.

Only :func:`ssah_exp.models.anatomy.read_anatomy` takes them from a model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["attention", "mlp"]
KINDS: tuple[Kind, Kind] = ("attention", "mlp")


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

    @classmethod
    def llama(cls, layers: int, hidden: int, neurons: int, heads: int) -> Anatomy:
        """Sizes of a Llama model without grouped-query attention, of which no weights are there."""
        return cls(
            family="llama",
            layers=layers,
            heads=heads,
            kv_heads=heads,
            head_dim=hidden // heads,
            neurons=neurons,
            hidden=hidden,
            head_parameters=4 * hidden * (hidden // heads),
            neuron_parameters=3 * hidden,
        )

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

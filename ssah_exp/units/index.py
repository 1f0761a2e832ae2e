"""The flat order of units: block by block, heads before neurons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ssah_exp.models.sizes import Anatomy

HEAD, NEURON = 0, 1
KIND_NAMES = ("head", "neuron")

Item = TypeVar("Item", np.bool_, np.float64)


@dataclass(frozen=True)
class UnitIndex:
    """Addresses of all units of one anatomy.

    All arrays have shape ``(units,)`` and one order: layer 0's heads, layer 0's neurons, layer 1's
    heads, and so on.
    """

    anatomy: Anatomy

    @cached_property
    def layer(self) -> NDArray[np.int16]:
        """Block of each unit."""
        per_block = self.anatomy.heads + self.anatomy.neurons
        return np.repeat(np.arange(self.anatomy.layers, dtype=np.int16), per_block)

    @cached_property
    def kind(self) -> NDArray[np.uint8]:
        """``HEAD`` or ``NEURON``."""
        block = [HEAD] * self.anatomy.heads + [NEURON] * self.anatomy.neurons
        return np.tile(np.array(block, dtype=np.uint8), self.anatomy.layers)

    @cached_property
    def index(self) -> NDArray[np.int32]:
        """Number of the head or neuron within its block."""
        block = np.concatenate([np.arange(self.anatomy.heads), np.arange(self.anatomy.neurons)])
        return np.tile(block.astype(np.int32), self.anatomy.layers)

    @cached_property
    def stratum(self) -> NDArray[np.int64]:
        """Number of each unit's layer and kind: 2 l for heads of layer l, 2 l + 1 for its neurons.

        Controls, permuted floors and chance overlaps keep the count of every stratum.
        """
        return np.asarray(2 * self.layer.astype(np.int64) + self.kind, dtype=np.int64)

    @cached_property
    def parameters(self) -> NDArray[np.float64]:
        """Weights that belong to each unit (protocol section 2: a head weighs many neurons)."""
        weights = np.array([self.anatomy.head_parameters, self.anatomy.neuron_parameters])
        chosen: NDArray[np.float64] = weights[self.kind]
        return chosen

    def flatten(
        self, heads: NDArray[np.float64], neurons: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Join ``(layers, heads)`` and ``(layers, neurons)`` in the flat order."""
        return np.concatenate([heads, neurons], axis=1).reshape(-1)

    def split(self, flat: NDArray[Item]) -> tuple[NDArray[Item], NDArray[Item]]:
        """Undo :meth:`flatten`: ``(units,)`` to ``(layers, heads)`` and ``(layers, neurons)``."""
        table = flat.reshape(self.anatomy.layers, -1)
        return table[:, : self.anatomy.heads], table[:, self.anatomy.heads :]

"""Channel statistics of one model over one calibration set, on disk as safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ssah_exp.config.vocabulary import STATISTICS
from ssah_exp.errors import UnitError
from ssah_exp.models.sizes import KINDS, Kind

_TENSORS = ("mean", *STATISTICS)  # fields of `KindStatistics`, in their order


@dataclass(frozen=True)
class KindStatistics:
    """Statistics of all ``o_proj`` inputs, or of all ``down_proj`` inputs.

    Attributes:
        mean: ``(layers, channels)`` float64, over counted tokens.
        variance: ``(layers, channels)`` float64, unbiased, over counted tokens.
        flap: ``(layers, channels)`` float64, see
            :class:`~ssah_exp.units.accumulators.FlapAccumulator`.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    flap: torch.Tensor

    def dispersion(self, statistic: str) -> torch.Tensor:
        """The statistic by name, ``variance`` or ``flap``.

        Raises:
            UnitError: There is no such statistic.
        """
        if statistic not in STATISTICS:
            raise UnitError(f"Unknown statistic '{statistic}'. Allowed: {', '.join(STATISTICS)}.")
        chosen: torch.Tensor = getattr(self, statistic)
        return chosen


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics over one calibration set.

    Attributes:
        tokens: Counted tokens.
        examples: Examples with at least one counted token.
        by_kind: Attention and MLP apart.
    """

    tokens: int
    examples: int
    by_kind: dict[Kind, KindStatistics]

    def check_finite(self, where: str) -> None:
        """Refuse NaN and infinity.

        Raises:
            UnitError: Names the first layer and module that is affected.
        """
        bad: list[tuple[int, Kind]] = []
        for kind in KINDS:
            stats = self.by_kind[kind]
            values = torch.stack([stats.mean, stats.variance, stats.flap])
            rows = (~torch.isfinite(values)).any(dim=0).any(dim=-1)
            bad += [(int(layer), kind) for layer in rows.nonzero().flatten()]
        if bad:
            layer, kind = min(bad)
            module = "o_proj" if kind == "attention" else "down_proj"
            raise UnitError(
                f"{where}: NaN or infinite activations, first at the {module} input of layer "
                f"{layer} ({len(bad)} of {2 * len(rows)} modules are affected). "
                "Try model.precision=float32 and check the weights."
            )

    def pooled_mean(self, other: ChannelStatistics, kind: Kind) -> torch.Tensor:
        """Mean over the tokens of both sets, ``(layers, channels)``."""
        total = self.tokens + other.tokens
        mine, theirs = self.by_kind[kind].mean, other.by_kind[kind].mean
        return mine * (self.tokens / total) + theirs * (other.tokens / total)

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        tensors = {
            f"{kind}.{name}": getattr(stats, name).contiguous()
            for kind, stats in self.by_kind.items()
            for name in _TENSORS
        }
        metadata = {"tokens": str(self.tokens), "examples": str(self.examples)}
        save_file(tensors, path, metadata=metadata)

    @classmethod
    def load(cls, path: Path) -> ChannelStatistics:
        """Read what :meth:`save` wrote.

        Raises:
            UnitError: The file is missing or damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                by_kind: dict[Kind, KindStatistics] = {
                    kind: KindStatistics(*(file.get_tensor(f"{kind}.{name}") for name in _TENSORS))
                    for kind in KINDS
                }
            return cls(int(metadata["tokens"]), int(metadata["examples"]), by_kind)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UnitError(f"Statistics file {path} cannot be read: {error}") from error

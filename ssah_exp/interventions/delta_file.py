"""The file of a unit delta: safetensors, with everything but the tensors in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ssah_exp.digest import digest_of
from ssah_exp.errors import UnitError
from ssah_exp.interventions.delta_parts import Part, bits, digest
from ssah_exp.interventions.plan import Slice
from ssah_exp.jsontext import json_of
from ssah_exp.storage import whole_path

_FORMAT = 3
_KEY = "ssah-exp unit delta"
# What reading a file ends in that is no delta, or not a whole one.
_DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError)


@dataclass(frozen=True)
class Base:
    """The model a delta was made for; the first three attributes are those of a ``ModelRef``.

    Attributes:
        identifier: Repository id or folder name.
        revision: Commit or content hash.
        fingerprint: sha256 over what decides its weights.
        values: Number of its weights; tied ones count once.
        nbytes: Their bytes.
        rest: Tensor name -> sha256 over what the delta leaves as it is
            (:func:`~ssah_exp.interventions.delta_parts.untouched`).
    """

    identifier: str
    revision: str
    fingerprint: str
    values: int
    nbytes: int
    rest: Mapping[str, str]

    def __str__(self) -> str:
        """For messages."""
        return f"{self.identifier}, revision {self.revision} (fingerprint {self.fingerprint[:12]})"


@dataclass(frozen=True, eq=False)
class Delta:
    """What a training run changed in a model.

    Attributes:
        base: The model before training.
        parts: One per changed tensor.
    """

    base: Base
    parts: tuple[Part, ...]

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all; an older file is replaced.

        Raises:
            StoreError: The disk is full or not writable.
        """
        tensors = _tensors(self)
        description = _description(self)
        description["sha256"] = _checksum(description, tensors)
        with whole_path(path) as temporary:
            save_file(tensors, temporary, {_KEY: json.dumps(description, sort_keys=True)})

    @classmethod
    def load(cls, path: Path) -> Delta:
        """Read what :meth:`save` wrote, checking its checksum. Tensors stay on disk until used.

        Raises:
            UnitError: Missing, damaged or of another format.
        """
        if not path.is_file():
            raise UnitError(f"No delta in {path}: there is no such file.")
        try:
            with safe_open(path, framework="pt") as file:
                noted = (file.metadata() or {}).get(_KEY)
                if noted is None:
                    raise UnitError(f"{path} holds tensors, but is no unit delta.")
                description = json_of(noted)
                if description["format"] != _FORMAT:
                    raise UnitError(f"{path} has format {description['format']}, not {_FORMAT}.")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            noted_sum = description.pop("sha256")
            if _checksum(description, tensors) != noted_sum:
                raise UnitError(f"{path} is damaged: its checksum differs from the one noted.")
            parts = (_part(entry, tensors) for entry in description["tensors"])
            return cls(Base(**description["base"]), tuple(parts))
        except _DAMAGED as error:
            raise UnitError(f"The delta in {path} is damaged: {error}") from error


def _tensors(delta: Delta) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for part in delta.parts:
        tensors[f"xor/{part.name}"] = part.xor.contiguous()
        if part.place is not None:
            tensors[f"index/{part.name}"] = part.place.index.to(torch.int32)
    return tensors


def _description(delta: Delta) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "base": asdict(delta.base),
        "tensors": [
            {
                "name": part.name,
                "copies": list(part.copies),
                "shape": list(part.shape),
                "dtype": part.dtype,
                "dim": None if part.place is None else part.place.dim,
                "before": part.before,
                "after": part.after,
            }
            for part in delta.parts
        ],
    }


def _checksum(description: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """sha256 over everything in the file; safetensors itself would not notice a flipped bit."""
    return digest_of([description, {name: digest(item) for name, item in tensors.items()}])


def _part(entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Part:
    name, shape = entry["name"], tuple(entry["shape"])
    xor, place, expected = tensors[f"xor/{name}"], None, list(shape)
    if entry["dim"] is not None:
        index = tensors[f"index/{name}"].long()
        place = Slice(name, entry["dim"], index, shape[entry["dim"]])
        expected[place.dim] = index.numel()
        if not bool(((index >= 0) & (index < place.size)).all()):
            raise ValueError(f"positions outside {name}")
    if list(xor.shape) != expected or xor.dtype != bits(_empty(entry["dtype"])).dtype:
        raise ValueError(f"another shape or type than noted for {name}")
    return Part(
        name=name,
        copies=tuple(entry["copies"]),
        shape=shape,
        dtype=entry["dtype"],
        place=place,
        xor=xor,
        before=entry["before"],
        after=entry["after"],
    )


def _empty(dtype: str) -> torch.Tensor:
    return torch.empty(0, dtype=getattr(torch, dtype))

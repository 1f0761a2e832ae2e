"""What a delta holds, in numbers, for people."""

from __future__ import annotations

import re
from typing import Any

from ssah_exp.interventions.delta_file import Delta
from ssah_exp.interventions.delta_parts import Part, changed_positions

_IN_BLOCK = re.compile(r"^.*?\.(?P<layer>\d+)\.(?P<path>.+)$")


def describe(delta: Delta) -> dict[str, Any]:
    """Everything `ssah-exp delta show` prints but the file's size, as JSON values.

    ``layers`` has a row per block and ``others`` an entry per tensor outside them. An entry says
    which ``part`` the delta holds (``rows``, ``columns``, ``entries`` of a vector, or ``whole``)
    and how many of its tensor's rows, columns or entries, its ``axis``, really ``changed``, out of
    ``of``. A row of an input projection and a column of an output projection belong to one unit.
    """
    changed = {part.name: int(part.xor.count_nonzero()) for part in delta.parts}
    layers: dict[int, dict[str, Any]] = {}
    others: dict[str, Any] = {}
    for part in delta.parts:
        found = _IN_BLOCK.match(part.name)
        place = others if found is None else layers.setdefault(int(found["layer"]), {})
        place[part.name if found is None else found["path"]] = _entry(part)
    total = sum(changed.values())
    return {
        "model": delta.base.identifier,
        "revision": delta.base.revision,
        "fingerprint": delta.base.fingerprint,
        "tensors": len(delta.parts),
        "values": {
            "changed": total,
            "stored": sum(part.xor.numel() for part in delta.parts),
            "model": delta.base.values,
            "changed_share": total / delta.base.values,
        },
        "layers": [{"layer": layer, "tensors": layers[layer]} for layer in sorted(layers)],
        "others": others,
    }


def _entry(part: Part) -> dict[str, Any]:
    if not part.shape:
        return {"part": "whole", "axis": "entries", "changed": 1, "of": 1}
    dim = 0 if part.place is None else part.place.dim
    axis = "entries" if len(part.shape) == 1 else ("rows", "columns")[dim]
    return {
        "part": "whole" if part.place is None else axis,
        "axis": axis,
        "changed": int(changed_positions(part.xor, dim).sum()),
        "of": part.shape[dim],
    }

"""Which artifacts a run used and which it made: the lineage that trackers show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssah_exp.records.record import RunRecord, file_name
from ssah_exp.units.unitmap import UnitMap

USED, MADE = "used", "made"


@dataclass(frozen=True)
class Item:
    """One artifact: files under a name whose versions are told apart by content.

    Attributes:
        name: The same for every version, e.g. ``unitmap-smollm2-135m``.
        kind: ``unitmap``, ``delta`` or ``completions``.
        path: A file, or a folder with everything in it.
        role: ``used`` or ``made`` by the run.
        metadata: What is to be known of it, as plain JSON values.
    """

    name: str
    kind: str
    path: Path
    role: str
    metadata: dict[str, Any] = field(default_factory=dict)


def items_of(record: RunRecord, folder: Path, *, completions: bool, deltas: bool) -> list[Item]:
    """Every artifact in a run's folder, the one it used before those it made.

    A training table uses the UnitMap that its selectors read and makes deltas; every other run
    makes the UnitMap.

    Args:
        record: The run's record.
        folder: The run's folder; need not exist.
        completions: Whether answers to harmful requests are included.
        deltas: Whether what training changed is included.
    """
    units = folder / "unitmap"
    found: list[Item] = []
    source: str | None = None
    if units.is_dir():
        source = UnitMap.checksum(units)
        role = USED if any(arm.arm and arm.units for arm in record.arms) else MADE
        model = record.models[record.identified]
        metadata = {"sha256": source, "model": model, "role": role}
        name = _clean(f"unitmap-{record.config['model']['name']}")
        found.append(Item(name, "unitmap", units, role, {**_whose(record), **metadata}))
    if deltas:
        found += _deltas(record, folder / "deltas", source)
    if completions and (folder / "completions").is_dir():
        name = _clean(f"completions-{record.artefact}")
        found.append(Item(name, "completions", folder / "completions", MADE, _whose(record)))
    return found


def _deltas(record: RunRecord, folder: Path, units: str | None) -> list[Item]:
    """One delta per trained arm that left one."""
    found = []
    for arm in record.arms:
        path = folder / f"{file_name(arm.name)}.safetensors"
        if arm.training is None or not path.is_file():
            continue
        metadata = {
            **_whose(record),
            "arm": arm.name,
            "policy": arm.training.get("policy"),
            "units": arm.units,
            "unitmap_sha256": units,
            "certificate": arm.training.get("certificate"),
            "role": MADE,
        }
        name = _clean(f"delta-{record.artefact}-{arm.name}")
        found.append(Item(name, "delta", path, MADE, metadata))
    return found


def _whose(record: RunRecord) -> dict[str, Any]:
    return {"run_id": record.run_id, "artefact": record.artefact, "seed": record.seed}


def _clean(name: str) -> str:
    """A name of the characters and length that trackers allow."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:128].strip("-.")

"""Which artifacts a run used and which it made: the lineage that trackers show."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_exp.folders import own_file
from ssah_exp.records.record import RunRecord, file_name
from ssah_exp.units.unitmap import UnitMap

USED, MADE = "used", "made"


@dataclass(frozen=True)
class Item:
    """One artifact: files under a name whose versions are told apart by content.

    Attributes:
        name: The same for every version, e.g. ``unitmap-smollm2-135m``.
        kind: ``unitmap``, ``delta`` or ``completions``.
        files: Plain files of the run's folder, no links.
        role: ``used`` or ``made`` by the run.
        metadata: What is to be known of it, as plain JSON values.
    """

    name: str
    kind: str
    files: tuple[Path, ...]
    role: str
    metadata: dict[str, Any]


def items_of(record: RunRecord, folder: Path, *, completions: bool, deltas: bool) -> list[Item]:
    """Every artifact in a run's folder, the one it used before those it made.

    A training table uses the UnitMap that its selectors read and makes deltas; every other run
    makes the UnitMap. What else lies in the folder is none: it may be somebody else's, with links
    to what is ours.

    Args:
        record: The run's record.
        folder: The run's folder; need not exist.
        completions: Whether answers to harmful requests are included.
        deltas: Whether what training changed is included.

    Raises:
        StoreError: One of the files is a link, or lies behind one that leads out of the folder.
    """
    units = folder / "unitmap"
    found: list[Item] = []
    source: str | None = None
    if files := _there(UnitMap.files(units), folder):
        source = UnitMap.checksum(units)
        role = USED if any(arm.arm and arm.units for arm in record.arms) else MADE
        model = record.models[record.identified]
        metadata = {"sha256": source, "model": model, "role": role}
        name = _clean(f"unitmap-{record.config['model']['name']}")
        found.append(Item(name, "unitmap", files, role, {**_whose(record), **metadata}))
    if deltas:
        found += _deltas(record, folder, source)
    named = [folder / arm.completions for arm in record.arms if arm.completions]
    if completions and (files := _there(named, folder)):
        name = _clean(f"completions-{record.artefact}")
        found.append(Item(name, "completions", files, MADE, _whose(record)))
    return found


def _there(paths: Iterable[Path], folder: Path) -> tuple[Path, ...]:
    """Those files that are there, each checked to be the folder's own."""
    return tuple(own_file(path, folder) for path in dict.fromkeys(paths) if os.path.lexists(path))


def _deltas(record: RunRecord, folder: Path, units: str | None) -> list[Item]:
    """One delta per trained arm that left one."""
    found = []
    for arm in record.arms:
        path = folder / "deltas" / f"{file_name(arm.name)}.safetensors"
        if arm.training is None or not (files := _there([path], folder)):
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
        found.append(Item(name, "delta", files, MADE, metadata))
    return found


def _whose(record: RunRecord) -> dict[str, Any]:
    return {"run_id": record.run_id, "artefact": record.artefact, "seed": record.seed}


def _clean(name: str) -> str:
    """A name of the characters and length that trackers allow."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:128].strip("-.")

"""Provenance: which code, packages and machine made which runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssah_exp.digest import digest_of
from ssah_exp.records.record import RunRecord


@dataclass(frozen=True)
class Environment:
    """Runs made by the same code on the same kind of machine.

    Attributes:
        commit: Of the code, 12 digits; empty: not noted.
        state: ``clean``, ``with uncommitted changes`` or empty.
        machine: Processor, cores, GPUs.
        packages: Name and version, those that decide numbers.
        runs: Their ids.
        first: When the first of them began.
        last: When the last of them ended.
    """

    commit: str
    state: str
    machine: str
    packages: str
    runs: list[str]
    first: str
    last: str


def environments(records: Sequence[RunRecord]) -> list[Environment]:
    """The environments of all runs, newest first."""
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        groups[digest_of(record.provenance)].append(record)
    found = [_environment(runs) for runs in groups.values()]
    return sorted(found, key=lambda item: item.last, reverse=True)


def _environment(runs: list[RunRecord]) -> Environment:
    made = runs[0].provenance
    code, hardware = made.get("code", {}), made.get("hardware", {})
    states = {True: "with uncommitted changes", False: "clean"}
    packages = [f"{name} {made['packages'][name]}" for name in sorted(made.get("packages", {}))]
    return Environment(
        commit=str(code.get("commit") or "")[:12],
        state=states.get(code.get("dirty"), ""),
        machine=_machine(hardware),
        packages=", ".join(packages),
        runs=[run.run_id for run in runs],
        first=min(run.started for run in runs),
        last=max(run.finished for run in runs),
    )


def _machine(hardware: dict[str, Any]) -> str:
    parts = [str(hardware["processor"])] if hardware.get("processor") else []
    if hardware.get("cores"):
        parts.append(f"{hardware['cores']} cores")
    parts += [str(gpu) for gpu in hardware.get("gpus", [])]
    if hardware.get("python"):
        parts.append(f"Python {hardware['python']}")
    return ", ".join(parts)

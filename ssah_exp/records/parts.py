"""What is read of the parts of a record that hold plain values; each may hold more, or less."""

from __future__ import annotations

from typing import Any, TypedDict


class Certificate(TypedDict, total=False):
    """Of a training: what changed, what stayed."""

    changed_weights: int
    changeable_weights: int
    frozen_weights: int
    frozen_sha256: str


class Training(TypedDict, total=False):
    """How the alignment or an arm was trained."""

    policy: str
    steps: int
    examples: int
    epochs: float
    losses: list[float] | None
    overlap: float | None
    reached: bool
    certificate: Certificate | None


class Code(TypedDict, total=False):
    """Of provenance; null where the code was no checkout."""

    commit: str | None
    dirty: bool | None


class Hardware(TypedDict, total=False):
    """Of provenance."""

    gpus: list[str]


class Provenance(TypedDict, total=False):
    """Code, packages and machine."""

    code: Code
    packages: dict[str, str | None]
    hardware: Hardware


class Described(TypedDict, total=False):
    """What a judge or an attack is."""

    kind: str
    name: str
    source: str
    scale: list[float]
    rubric: dict[str, Any]

"""One of our values and the published one it stands beside."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ssah_exp.reporting.rows import Block, Cell, Row


@dataclass(frozen=True)
class PaperPair:
    """A measured value, the paper's, and what was done differently.

    Attributes:
        arm: Our row: a class, ``aligned``, or a configured arm.
        fill: What replaced the activations, where something did.
        metric: Our metric, or the name of what the paper measured where we have none.
        quantity: The metric as written for people.
        ours: None or a cell without a value: not measured.
        source: Published model, and what else tells its rows apart.
        published: In the unit of ``ours`` (rates from 0 to 1); None: not published.
        differs: What the protocols differ in, each as ``what: ours for theirs``.
    """

    arm: str
    fill: str | None
    metric: str
    quantity: str
    ours: Cell | None
    source: str
    published: float | None
    differs: tuple[str, ...]

    @property
    def measured(self) -> float | None:
        """Our point estimate, a gap where there is none."""
        return None if self.ours is None else self.ours.value

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's; a gap where either is one."""
        if self.measured is None or self.published is None:
            return None
        return self.measured - self.published


def find_row(block: Block, label: str, fill: str | None = None) -> Row | None:
    """The row of a class or an arm itself, not of its controls; None if there is none."""
    for row in block.rows:
        if row.label == label and row.control is None and row.fill == fill:
            return row
    return None


def sources_of(model: str, published: Iterable[str]) -> list[str]:
    """Published models to stand beside: ours alone where it is one of them, else all."""
    names = list(dict.fromkeys(published))
    return [name for name in names if same_model(name, model)] or names


def same_model(one: str, other: str) -> bool:
    """Whether two names are of one model: case, punctuation and remarks in brackets aside."""
    return letters(one.partition(" (")[0]) == letters(other.partition(" (")[0])


def letters(name: str) -> str:
    """A name without case and punctuation."""
    return "".join(mark for mark in name.lower() if mark.isalnum())


def published_number(value: object, scale: float) -> float | None:
    """A published value in our unit, divided by ``scale``; None if it was not published."""
    number = float(str(value))
    return None if math.isnan(number) else round(number / scale, 12)

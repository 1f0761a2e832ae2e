"""The comparison as a table for people and as lines for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from ssah_exp.config.artefacts import TABLE1
from ssah_exp.reporting.beside_paper.pair import PaperPair
from ssah_exp.reporting.beside_paper.pruning import pruning_pairs
from ssah_exp.reporting.beside_paper.training import TRAINING_PAIRS
from ssah_exp.reporting.rows import Block
from ssah_exp.reporting.settings import setting_columns
from ssah_exp.reporting.text import cell_text, format_frame, given, prose, scale_of, value_text

TITLE = "Ours beside the paper's; difference = ours - published, in the unit of the row:"
COLUMNS = ("published_model", "published", "difference", "differs_in")
_COUNTS = ("n", "repeats")


def pairs_of(block: Block) -> list[PaperPair]:
    """Every published value that belongs to this setting; none where the paper has none."""
    artefact = block.records[0].artefact
    if artefact == TABLE1:
        return pruning_pairs(block)
    return list(TRAINING_PAIRS[artefact](block)) if artefact in TRAINING_PAIRS else []


def measured_pairs(pairs: Sequence[PaperPair]) -> list[PaperPair]:
    """The pairs whose quantity was measured on some arm; gaps of other arms stay gaps."""
    ours = {pair.metric for pair in pairs if pair.ours is not None}
    return [pair for pair in pairs if pair.metric in ours]


def comparison_text(block: Block, form: str) -> list[str]:
    """Paragraphs and one table, as ``markdown`` or ``latex``; empty without published values."""
    pairs = pairs_of(block)
    if not pairs:
        return []
    shown = measured_pairs(pairs)
    parts = [prose(TITLE, form), format_frame(wide(shown), form)] if shown else []
    return [*parts, *(prose(note, form) for note in notes(pairs))]


def wide(pairs: Sequence[PaperPair]) -> pd.DataFrame:
    """One line per arm and quantity; two columns per published model. Rates in percent."""
    sources = list(dict.fromkeys(pair.source for pair in pairs))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    apart: dict[tuple[str, str], list[str]] = {}
    for pair in pairs:
        key = (pair.arm, pair.metric)
        line = lines.setdefault(
            key,
            {
                "arm": pair.arm,
                "quantity": pair.quantity,
                "ours": "" if pair.ours is None else cell_text(pair.ours, pair.metric),
                **{f"{name}{what}": "" for name in sources for what in ("", ": difference")},
            },
        )
        line[pair.source] = published_text(pair)
        line[f"{pair.source}: difference"] = difference_text(pair)
        apart.setdefault(key, []).extend(marks(pair))
    for key, line in lines.items():
        line["differs in"] = ", ".join(dict.fromkeys(apart[key]))
    return pd.DataFrame(list(lines.values()))


def notes(pairs: Sequence[PaperPair]) -> Iterator[str]:
    """What the marks mean, and which published quantities were not measured."""
    shown = measured_pairs(pairs)
    meanings = dict.fromkeys(
        text for pair in shown if pair.difference is not None for text in pair.differs
    )
    if meanings:
        yield f"Differs in (ours for theirs): {'; '.join(meanings)}."
    measured = {pair.metric for pair in shown}
    missing = dict.fromkeys(pair.quantity for pair in pairs if pair.metric not in measured)
    if missing:
        yield f"Not measured here, but published: {'; '.join(missing)}."


def comparison_lines(block: Block) -> list[dict[str, Any]]:
    """One line per published value, measured or not, for machines. Rates from 0 to 1."""
    return [
        {
            "origin": "comparison",
            **setting_columns(block.records),
            "arm": pair.arm,
            "fill": pair.fill,
            "metric": pair.metric,
            **({} if pair.ours is None else pair.ours.__dict__),
            "published_model": pair.source,
            "published": pair.published,
            "difference": pair.difference,
            "differs_in": "; ".join(pair.differs),
        }
        for pair in pairs_of(block)
    ]


def with_comparison(frame: pd.DataFrame, settings: Sequence[Block]) -> pd.DataFrame:
    """A long table with the comparison's lines appended, told apart by ``origin``.

    Only those lines fill :data:`COLUMNS`, which are there without them, too: tables of several
    artefacts may be read together.
    """
    lines = [line for block in settings for line in comparison_lines(block)]
    above = frame if "origin" in frame.columns else frame.assign(origin="measured")
    first = ["origin", *(name for name in above.columns if name != "origin")]
    # Line by line: joining frames would guess a type for columns that only one of them has.
    joined = pd.DataFrame([*above.to_dict("records"), *lines], columns=[*first, *COLUMNS])
    return joined.astype(dict.fromkeys(_COUNTS, "Int64"))  # a line without them makes them floats


def marks(pair: PaperPair) -> list[str]:
    """What the protocols differ in, without the values; nothing where nothing is compared."""
    if pair.difference is None:
        return []
    return [text.partition(":")[0] for text in pair.differs]


def published_text(pair: PaperPair) -> str:
    """As printed in the paper; a gap stays empty."""
    return "" if pair.published is None else given(pair.published * scale_of(pair.metric))


def difference_text(pair: PaperPair) -> str:
    """Signed, with the digits of its metric; a gap stays empty."""
    if pair.difference is None:
        return ""
    text = value_text(pair.difference, pair.metric)
    if text.strip("-0.") == "":
        return text.lstrip("-")  # rounds to zero
    return f"+{text}" if pair.difference > 0 else text

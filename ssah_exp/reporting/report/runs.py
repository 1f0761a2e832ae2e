"""One line per run: who it is, and the numbers a reader sorts by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssah_exp.config.vocabulary import ALIGNED
from ssah_exp.evaluation.metric_names import PERPLEXITY
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.report.payload import primary_asr
from ssah_exp.reporting.text import estimate_text, scale_of


@dataclass(frozen=True)
class Shown:
    """A number as the tables write it, with the value it is sorted by; None is a gap."""

    text: str
    value: float | None


@dataclass(frozen=True)
class RunLine:
    """A row of the table of runs.

    Attributes:
        record: The run.
        budget: Of the SCU; None where the artefact identifies no units.
        aligned: ASR of the aligned model.
        arm: Name of the arm that the artefact is about.
        rate: Its ASR.
        perplexity: Its perplexity.
        words: What a search looks through, lower case.
    """

    record: RunRecord
    budget: float | None
    aligned: Shown
    arm: str
    rate: Shown
    perplexity: Shown
    words: str


def run_lines(records: Sequence[RunRecord]) -> list[RunLine]:
    """Newest first."""
    return [_line(record) for record in sorted(records, key=lambda r: r.finished, reverse=True)]


def key_arm(record: RunRecord) -> ArmRecord | None:
    """The first arm with a set of units of its own; else the first trained one, else the last."""
    real = [arm for arm in record.arms if arm.control is None]
    for wanted in (
        [arm for arm in real if arm.units > 0],
        [arm for arm in real if arm.training is not None],
        real[-1:],
    ):
        if wanted:
            return wanted[0]
    return None


def _line(record: RunRecord) -> RunLine:
    metric, arm = primary_asr(record), key_arm(record)
    aligned = next((item for item in record.arms if item.name == ALIGNED), None)
    config = record.config
    budget = config["units"]["budgets"]["scu"] if "units" in config else None
    words = [
        record.run_id,
        record.artefact,
        str(config["model"]["name"]),
        str(config["data"]["name"]),
        f"seed {record.seed}",
        *([] if budget is None else [f"scu {budget:g}"]),
        *(item.name for item in record.arms if item.control is None),
        *record.judges,
    ]
    return RunLine(
        record=record,
        budget=budget,
        aligned=_shown(aligned, metric),
        arm="" if arm is None else arm.name,
        rate=_shown(arm, metric),
        perplexity=_shown(arm, PERPLEXITY),
        words=" ".join(words).lower(),
    )


def _shown(arm: ArmRecord | None, metric: str) -> Shown:
    if arm is None:
        return Shown("", None)
    item = arm.measured(metric)
    shown = item.mapped(lambda value: value * scale_of(metric))
    return Shown(estimate_text(item, metric), shown.value)

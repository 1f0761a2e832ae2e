"""`ssah-exp compare`: paired tests between the arms of an artefact or of runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.config.paths import runs_root
from ssah_exp.config.ranges import choices, within
from ssah_exp.config.validate import ARTEFACTS, PROBE
from ssah_exp.errors import ConfigError, StoreError, did_you_mean
from ssah_exp.evaluation.paired import Level, Margins
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RECORD, RecordStore
from ssah_exp.reporting.compare_table import render_comparisons
from ssah_exp.reporting.comparing import Comparisons, compare_arms
from ssah_exp.reporting.rows import blocks

_METRICS = ("perplexity", "asr", "benign_refusal", "borderline_refusal")


def execute(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Print one table per setting.

    Raises:
        ConfigError: An option out of range, an unknown metric, judge, artefact or run.
        StoreError: There is no record, or one cannot be read.
    """
    metrics = options.metrics.split(",") if options.metrics else []
    _check(options, metrics)
    records = [record for what in options.what for record in _records(what, options.root)]
    if len({record.artefact for record in records}) > 1:
        raise ConfigError("Runs of different artefacts have no arms in common; compare one.")
    if records[0].artefact == PROBE:
        raise ConfigError(
            f"{PROBE} keeps no outcome of each prompt to compare arms by; "
            f"ssah-exp tables {PROBE} has its paired tests."
        )
    margins = Margins(options.margin, options.loss_margin)
    settings = [_compare(block.records, options, margins, metrics) for block in blocks(records)]
    print(render_comparisons(settings, options.format, options.claim))
    return 0


def _check(options: argparse.Namespace, metrics: list[str]) -> None:
    problems = [
        *within("--confidence", options.confidence, 0.5, 0.9999),
        *within("--margin", options.margin, 0, 1, open_low=True),
        *within("--loss-margin", options.loss_margin, 0, 10, open_low=True),
        *choices("--metrics", metrics, _METRICS, empty=True),
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _records(what: str, root: str | None) -> list[RunRecord]:
    """All runs of an artefact, or the one in a folder or file."""
    if what in ARTEFACTS:
        found = RecordStore(Path(root) if root else runs_root()).read(what)
        if not found:
            raise StoreError(f"No record of {what} below {root or runs_root()}.")
        return found
    path = Path(what).expanduser()
    path = path / RECORD if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(
            f"'{what}' is neither a run's folder or record nor an artefact."
            f"{did_you_mean(what, ARTEFACTS)}"
        )
    try:
        return [RunRecord.from_json(path.read_text(encoding="utf-8"))]
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _compare(
    records: Sequence[RunRecord],
    options: argparse.Namespace,
    margins: Margins,
    metrics: Sequence[str],
) -> Comparisons:
    evaluation = records[0].config["evaluation"]
    judge = options.judge or evaluation["primary_judge"]
    if judge not in evaluation["judges"]:
        known = did_you_mean(judge, evaluation["judges"])
        raise ConfigError(f"--judge={judge} is no judge of run {records[0].run_id}.{known}")
    level = Level(options.confidence, evaluation["bootstrap_resamples"])
    return compare_arms(records, judge, level, margins, metrics)

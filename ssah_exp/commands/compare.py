"""`ssah-exp compare`: paired tests between the arms of an artefact or of runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssah_exp.commands.records import some_records
from ssah_exp.config.artefacts import ARTEFACTS, PROBE
from ssah_exp.config.ranges import refuse, within
from ssah_exp.config.vocabulary import MT_BENCH
from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.evaluation.intervals import Resampling
from ssah_exp.evaluation.paired import Margins
from ssah_exp.records.later_judges import with_later_judges
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RECORD, read_record
from ssah_exp.reporting.compare.arms import compare_arms
from ssah_exp.reporting.compare.metrics import Metric, metrics_of
from ssah_exp.reporting.compare.table import render_comparisons
from ssah_exp.reporting.rows import blocks
from ssah_exp.reporting.settings import unlike_judge, unlike_judges


def execute(options: argparse.Namespace) -> int:
    """Print one table per setting.

    Raises:
        ConfigError: An option out of range, an unknown judge, artefact or run, a metric that no
            run has, or arms with nothing to be compared with.
        StoreError: There is no record, or one cannot be read.
    """
    metrics = options.metrics.split(",") if options.metrics else []
    _check(options)
    if options.records and not any(what in ARTEFACTS for what in options.what):
        raise ConfigError("--records says where an artefact's records lie; name the artefact.")
    records = [record for what in options.what for record in _records(what, options)]
    if len({record.artefact for record in records}) > 1:
        raise ConfigError("Runs of different artefacts have no arms in common; compare one.")
    if records[0].artefact == PROBE:
        raise ConfigError(
            f"{PROBE} keeps no outcome of each prompt to compare arms by; "
            f"ssah-exp tables {PROBE} has its paired tests."
        )
    settings = [(block, _judge(block.records, options)) for block in blocks(records)]
    _check_metrics(metrics, [metrics_of(block.records, judge) for block, judge in settings])
    margins = Margins(options.margin, options.loss_margin, options.score_margin)
    compared = []
    for block, judge in settings:
        resampling = _resampling(block.records[0], options)
        found = compare_arms(block.records, judge, resampling, margins, metrics)
        compared.append(replace(found, apart=block.apart))
    whole = [setting for setting in compared if setting.lines]  # some may lack the chosen metrics
    if not whole:
        raise ConfigError(
            "Nothing to compare: no arm of these runs stands beside a control, the dense model or "
            "plain fine-tuning that was measured, too."
        )
    print(render_comparisons(whole, options.format, options.claim))
    return 0


def _check(options: argparse.Namespace) -> None:
    problems = [
        *within("--confidence", options.confidence, 0.5, 0.9999),
        *within("--margin", options.margin, 0, 1, open_low=True),
        *within("--loss-margin", options.loss_margin, 0, 10, open_low=True),
        *within("--score-margin", options.score_margin, 0, 1, open_low=True),
    ]
    refuse(problems)


def _check_metrics(asked: Sequence[str], settings: Sequence[Sequence[Metric]]) -> None:
    """Refuse every metric by which no setting can be compared."""
    there = [metric for metrics in settings for metric in metrics]
    names = {metric.name for metric in there}
    known = names | {name.partition("/")[0] for name in names}
    refuse(
        f"--metrics={part}.{did_you_mean(part, known)}"
        for part in asked
        if not any(metric.is_of(part) for metric in there)
    )


def _records(what: str, options: argparse.Namespace) -> list[RunRecord]:
    """All runs of an artefact, or the one in a folder or file."""
    if what in ARTEFACTS:
        return some_records(options, what)
    path = Path(what).expanduser()
    path = path / RECORD if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(
            f"'{what}' is neither a run's folder or record nor an artefact."
            f"{did_you_mean(what, ARTEFACTS)}"
        )
    return [with_later_judges(read_record(path), path)]


def _judge(records: Sequence[RunRecord], options: argparse.Namespace) -> str:
    """The judge whose verdicts are compared.

    Raises:
        ConfigError: The one asked for is no judge of any run, or not the same one for all seeds.
    """
    evaluation = records[0].config["evaluation"]
    judge: str = options.judge or evaluation["primary_judge"]
    later = {name for record in records for name in record.judges}  # some of single runs
    judges = {*evaluation["judges"], *later} - {MT_BENCH}
    if keys := unlike_judges(records).get(judge):
        raise ConfigError(
            f"{unlike_judge(f'--judge={judge}', keys, records)}. Compare runs of one judge, or "
            "ask one of all."
        )
    if judge not in judges:
        runs = " or ".join(record.run_id for record in records)
        raise ConfigError(
            f"--judge={judge} is no judge of run {runs}.{did_you_mean(judge, judges)}"
        )
    return judge


def _resampling(record: RunRecord, options: argparse.Namespace) -> Resampling:
    return Resampling(options.confidence, record.config["evaluation"]["bootstrap_resamples"])

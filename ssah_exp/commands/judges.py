"""`ssah-exp judges`: how far judges agree, and what other judges say of a finished run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ssah_exp.config.checks.judges import too_short
from ssah_exp.config.judge_files import read_judges
from ssah_exp.config.paths import root_of
from ssah_exp.config.ranges import refuse, within
from ssah_exp.errors import DataError, IncompleteError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.judges import Judge, ReaderJudge, judge_of
from ssah_exp.evaluation.judges.label_file import require_labels
from ssah_exp.evaluation.raters.comparison import compare_judges
from ssah_exp.evaluation.raters.labelled import LabelledAnswers, read_answers, read_labelled
from ssah_exp.pipeline.rejudging import rejudge
from ssah_exp.records.later_judges import LaterJudge
from ssah_exp.records.record import ASK_AGAIN, RunRecord, unanswered_text
from ssah_exp.records.store import RECORD, read_run, root_around
from ssah_exp.reporting.fitted import form_for_people
from ssah_exp.reporting.judges_table import render_judges
from ssah_exp.reporting.text import format_frame, percent_text, rounded_text


def execute(options: argparse.Namespace) -> int:
    """Compare judges, or judge a run.

    Raises:
        SsahError: An unknown judge, a missing file, a judge that cannot work.
        IncompleteError: A judge failed on some answers.
    """
    root = _root(options)
    nodes = read_judges(options.judges.split(","), options.set)
    judges = {name: judge_of(node, name, root) for name, node in nodes.items()}
    if options.action == "compare":
        _compare(options, judges)
    else:
        _run(options, judges, nodes)
    return 0


def _root(options: argparse.Namespace) -> Path:
    """Where judgements are kept: if nobody says so, a run's beside it, where its own judges do."""
    beside = root_around(Path(options.run)) if options.action == "run" else None
    return root_of(options.root) if options.root or beside is None else beside


def _compare(options: argparse.Namespace, judges: dict[str, Judge]) -> None:
    refuse(within("--confidence", options.confidence, 0.5, 0.9999))
    reference = _reference(Path(options.labels)) if options.labels else None
    answers = read_answers(Path(options.file))
    found = compare_judges(answers, judges, reference, options.confidence)
    if options.format == "json":
        print(json.dumps({"file": options.file, **found.as_dict()}, indent=1))
    else:
        print(render_judges(found, form_for_people()))


def _reference(path: Path) -> LabelledAnswers:
    found = read_labelled(path)
    require_labels(path, found.labels or ())
    return found


def _run(options: argparse.Namespace, judges: dict[str, Judge], nodes: Mapping[str, Any]) -> None:
    folder = Path(options.run)
    record = read_run(folder)
    longest = record.config["evaluation"].get("max_new_tokens")  # None: a probe, without answers
    for name, node in nodes.items() if longest is not None else ():
        refuse(too_short(name, node, "the run's evaluation.max_new_tokens", longest))
    found: dict[str, LaterJudge] = {}
    for name, judge in judges.items():
        said_by = rejudge(record, folder, {name: judge})
        if isinstance(judge, ReaderJudge) and not said_by[name].scored():
            raise DataError(
                f"{folder}: none of its answers has a label in {judge.path}; nothing was written."
            )
        _keep(record, folder, said_by)  # at once: the next judge may end the command
        found |= said_by
    rows: dict[str, dict[str, Estimate]] = {}
    for later in found.values():
        for arm, said in later.arms.items():
            rows.setdefault(arm, {}).update(said.metrics)
    _print(rows, options.format)
    lacking = {name: later.unanswered() for name, later in found.items() if later.unanswered()}
    if lacking:
        raise IncompleteError(f"{unanswered_text(lacking)}. {ASK_AGAIN}")


def _print(rows: dict[str, dict[str, Estimate]], form: str) -> None:
    if form == "json":
        plain = {arm: {key: val.as_dict() for key, val in row.items()} for arm, row in rows.items()}
        print(json.dumps(plain, indent=1))
        return
    frame = pd.DataFrame(
        [
            {"arm": arm, **{key: _cell(key, val) for key, val in row.items()}}
            for arm, row in rows.items()
        ]
    )
    print(format_frame(frame, form_for_people()))


def _keep(record: RunRecord, folder: Path, found: dict[str, LaterJudge]) -> None:
    """Write what judges said beside the record, for tables, comparisons, claims and the report.

    What a judge of the run itself said is not written.
    """
    for name, later in found.items():
        if name in record.judges:
            print(f"{name} is a judge of the run itself: printed, not kept", file=sys.stderr)
        else:
            print(f"wrote {later.write(folder / RECORD)}", file=sys.stderr)


def _cell(metric: str, estimate: Estimate) -> str:
    """An estimate as text: scores as they are, rates in percent."""
    return rounded_text(estimate) if metric.startswith("score/") else percent_text(estimate)

"""`ssah-exp bench`: speed and memory on this machine, as ratios of arms measured side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from ssah_exp.bench.check import WATCHED, MeasuredRatios, RatioChange, compare, watched
from ssah_exp.bench.counting import bench_count
from ssah_exp.bench.generating import bench_generate
from ssah_exp.bench.growth import bench_growth
from ssah_exp.bench.identify import bench_identify
from ssah_exp.bench.settings import (
    complete,
    complete_count,
    complete_generate,
    complete_growth,
    complete_identify,
)
from ssah_exp.bench.startup import bench_startup
from ssah_exp.bench.training import bench_train
from ssah_exp.config.paths import root_of
from ssah_exp.config.ranges import at_least, refuse
from ssah_exp.errors import StoreError
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.reporting.bench_tables import (
    print_counted,
    print_growth,
    print_rounds,
    print_training,
)
from ssah_exp.reporting.figures.drawing import check_picture
from ssah_exp.reporting.figures.growth import draw_growth
from ssah_exp.storage import write_atomically

Say = Callable[[str], None]
Report = dict[str, Any]

_PRINTERS = {"count": print_counted, "train": print_training, "growth": print_growth}


def execute(options: argparse.Namespace) -> int:
    """Measure and print; a sure ratio that fell by over 10 % is a part that failed.

    Raises:
        ConfigError: An unknown model, values out of range, or a figure of unknown suffix.
        ModelError: The device or the embedded model is not there.
        StoreError: Committed ratios that cannot be read.
    """
    root = root_of(getattr(options, "root", None))
    picture = None if getattr(options, "figure", None) is None else Path(options.figure)
    if picture is not None:
        check_picture(picture)  # before minutes of measuring, not after
    say = Reporter(Console(stderr=True), bars=False).begin
    if options.action == "check":
        return _check(options, root, say)
    report = _measure(options.action, vars(options), root, say)
    if options.format == "json":
        print(json.dumps(report, indent=1))
    else:
        _PRINTERS.get(options.action, print_rounds)(report, Console())
    if picture is not None:  # last: a disk that will not take it must not cost the report
        draw_growth(report, picture)
    return 0


def _measure(bench: str, given: dict[str, Any], root: Path, say: Say) -> Report:
    if bench == "train":
        return bench_train(complete(given), root, say)
    if bench == "count":
        return bench_count(complete_count(given), root, say)
    if bench == "identify":
        return bench_identify(complete_identify(given), root, say)
    if bench == "generate":
        return bench_generate(complete_generate(given), root, say)
    if bench == "growth":
        return bench_growth(complete_growth(given), say)
    refuse(at_least("--repeats", given["repeats"], 1))
    return bench_startup(given["repeats"], say)


def _check(options: argparse.Namespace, root: Path, say: Say) -> int:
    path = Path(options.file)
    # Read before minutes of measuring, not after.
    committed: dict[str, MeasuredRatios] = {} if options.write else _read(path)
    given = {"device": "cpu", "repeats": options.repeats, "threads": options.threads}
    reports = {bench: _measure(bench, given, root, say) for bench in WATCHED}
    now = {bench: watched(report) for bench, report in reports.items()}
    if options.write:
        about = {name: next(iter(reports.values()))[name] for name in ("machine", "versions")}
        content = {**about, "threads": options.threads, "ratios": now}
        write_atomically(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
        return 0
    found = [
        item for bench in WATCHED for item in compare(bench, committed.get(bench, {}), now[bench])
    ]
    for item in found:
        print(_line(item))
    failed = [item.name for item in found if item.failed]
    if failed:
        print(f"Slower than committed by more than 10 %: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _line(item: RatioChange) -> str:
    verdict = "LOST" if item.failed else "warn" if item.lost else "ok"
    line = f"{verdict:<5}{item.name:<40}{item.before:8.3f} -> {item.now:.3f}"
    few = "round" if item.rounds == 1 else "rounds"
    return line if item.sure else f"{line}  (committed from {item.rounds} {few}: cannot fail)"


def _read(path: Path) -> dict[str, MeasuredRatios]:
    try:
        content: dict[str, MeasuredRatios] = json.loads(path.read_text(encoding="utf-8"))["ratios"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"Committed ratios {path} cannot be read: {error}") from error
    return content

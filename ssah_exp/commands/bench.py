"""`ssah-exp bench train`: what training a share of the units costs beside training everything."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ssah_exp.config.paths import runs_root
from ssah_exp.pipeline.bench.compare import bench_train
from ssah_exp.pipeline.bench.settings import complete
from ssah_exp.pipeline.progress import Reporter

_OPTIONS = (
    "model",
    "device",
    "precision",
    "share",
    "batch",
    "length",
    "steps",
    "warmup",
    "repeats",
    "checkpointing",
    "response_share",
    "seed",
)
_GIB = 2**30


def execute(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Measure and print.

    Raises:
        ConfigError: An unknown model, or values out of range.
        ModelError: The device or the embedded model is not there.
    """
    settings = complete({name: getattr(options, name) for name in _OPTIONS})
    root = Path(options.root) if options.root else runs_root()
    reporter = Reporter(Console(stderr=True), bars=False)
    report = bench_train(settings, root, reporter.begin)
    if options.format == "json":
        print(json.dumps(report, indent=1))
    else:
        _print(report, Console())
    return 0


def _print(report: dict[str, Any], console: Console) -> None:
    settings, machine = report["settings"], report["machine"]
    place = ", ".join(machine["gpus"]) if settings["device"] != "cpu" else machine["processor"]
    console.print(
        f"{settings['model']}  {settings['precision']}  {settings['batch']} x {settings['length']} "
        f"tokens  {settings['device']} ({place})"
    )
    console.print(_arms(report["arms"]))
    console.print(_ratios(report["ratios"]))
    kind = "checkpointing" if settings["checkpointing"] else "plain"
    console.print(
        f"arithmetic limit of tokens/s at a share of {settings['share']:g}: "
        f"{report['arithmetic_limit'][kind]:.2f}"
    )


def _arms(arms: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="Arms: median (range over repeats)", title_justify="left")
    for column in ("arm", "status", "tokens/s", "peak GiB", "static GiB", "trained"):
        table.add_column(column, justify="left" if column in ("arm", "status") else "right")
    for name, arm in arms.items():
        static = arm["static_memory"]
        table.add_row(
            name,
            arm["status"].replace("_", " "),
            _range(arm["tokens_per_second"], 1, "{:,.0f}"),
            _range(arm["peak_memory"], _GIB, "{:.2f}"),
            "" if static is None else f"{static['total'] / _GIB:.2f}",
            "" if static is None else f"{arm['trained_parameters']:,}",
        )
    return table


def _ratios(ratios: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="Ratios: median (range over repeats)", title_justify="left")
    for column in ("arms", "tokens/s", "peak memory", "static memory"):
        table.add_column(column, justify="left" if column == "arms" else "right")
    for name, row in ratios.items():
        table.add_row(name, *(_range(value, 1, "{:.3f}") for value in row.values()))
    return table


def _range(spread: dict[str, Any] | None, unit: float, form: str) -> str:
    """Median and, where repeats differ, their range; a gap where there is nothing."""
    if spread is None:
        return ""
    middle, low, high = (form.format(spread[name] / unit) for name in ("median", "low", "high"))
    return middle if low == high else f"{middle} ({low}-{high})"

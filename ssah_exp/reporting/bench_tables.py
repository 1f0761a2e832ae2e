"""Reports of benchmarks as tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from ssah_exp.reporting.terminal import terminal_table

_GIB = 2**30


def print_rounds(report: dict[str, Any], console: Console) -> None:
    """Arms timed side by side in rounds: seconds, tokens per second, ratios."""
    settings, machine = report["settings"], report["machine"]
    listed = "  ".join(f"{name} {value}" for name, value in settings.items())
    console.print(f"{report['bench']}: {listed} ({_place(settings, machine)})")
    table = terminal_table("Arms: median (range over rounds)", ("arm",), ("seconds", "tokens/s"))
    speeds = report.get("tokens_per_second", {})
    for name, spread in report["seconds"].items():
        table.add_row(name, _range(spread, 1, "{:.3f}"), _range(speeds.get(name), 1, "{:,.0f}"))
    console.print(table)
    for name, spread in report.get("ratios", {}).items():
        console.print(f"seconds {name:<24} {_range(spread, 1, '{:.3f}')}")
    for name, bound in report.get("reach", {}).items():
        console.print(f"{name} is to stay below {bound:g} s")
    if "state_bytes" in report:
        console.print(f"state of one calibration set: {report['state_bytes'] / 1e6:.1f} MB")


def print_training(report: dict[str, Any], console: Console) -> None:
    """The training benchmark: speed, peak and static memory, ratios and their limit."""
    settings, machine = report["settings"], report["machine"]
    console.print(
        f"{settings['model']}  {settings['precision']}  {settings['batch']} x {settings['length']} "
        f"tokens  {settings['device']} ({_place(settings, machine)})"
    )
    console.print(_arms(report["arms"]))
    for name, arm in report["arms"].items():
        if ":" in arm["status"]:  # why, at full width
            console.print(f"{name} {arm['status']}")
    console.print(_ratios(report["ratios"]))
    kind = "checkpointing" if settings["checkpointing"] else "plain"
    console.print(
        f"arithmetic limit of tokens/s at a share of {settings['share']:g}: "
        f"{report['arithmetic_limit'][kind]:.2f}"
    )
    if proof := report["certificate"]:
        console.print(
            f"certificate of compact: {_range(proof['seconds'], 1, '{:.2f}')} s, "
            f"{proof['bytes'] / 1e9:.2f} GB hashed at {proof['bytes_per_second'] / 1e9:.2f} GB/s; "
            f"below {proof['reach']:.0%} of a run from {proof['steps_to_reach']:,} steps on"
        )


def print_counted(report: dict[str, Any], console: Console) -> None:
    """The counted step of every arm, and each beside full training."""
    settings = report["settings"]
    kinds = "with masters" if settings["masters"] else "without masters"
    kinds += ", checkpointing" if settings["checkpointing"] else ""
    console.print(
        f"{settings['model']}  {settings['precision']}  {settings['batch']} x {settings['length']} "
        f"tokens  {kinds}"
    )
    numbers = ("trained", "gradients GB", "update GB", "static GB", "TFLOP")
    table = terminal_table("A step, counted: peaks, what stays, products", ("arm",), numbers)
    for name, arm in report["arms"].items():
        sizes = (arm["peak_of_gradients"], arm["peak_of_update"], arm["static_memory"]["total"])
        table.add_row(
            name,
            f"{arm['trained_parameters'] / arm['parameters']:.1%}",
            *(f"{size / 1e9:.2f}" for size in sizes),
            f"{arm['flop'] / 1e12:.1f}",
        )
    console.print(table)
    table = terminal_table("Ratios", ("arms",), ("peak memory", "static memory", "FLOP"))
    for name, row in report["ratios"].items():
        table.add_row(name, *(f"{value:.3f}" for value in row.values()))
    console.print(table)


def print_growth(report: dict[str, Any], console: Console) -> None:
    """Exponents with their intervals, one row for each task, axis and thing measured."""
    settings, machine = report["settings"], report["machine"]
    console.print(f"growth: {report['clock']} time ({_place(settings, machine)})")
    columns = ("task", "axis", "sizes", "measured", "exponent", "between the last two")
    table = terminal_table("Exponents (95% interval)", columns)
    for task, axes in report["curves"].items():
        for axis, curve in axes.items():
            sizes = [point[axis] for point in curve["points"]]
            for name, fit in curve["exponents"].items():
                table.add_row(task, axis, f"{sizes[0]} to {sizes[-1]}", name, *_exponent(fit))
    console.print(table)


def _exponent(fit: dict[str, float] | None) -> tuple[str, str]:
    """Exponent with its interval, and slope between the last two sizes; gaps without a fit."""
    if fit is None:
        return "", ""
    return f"{fit['exponent']:.2f} ({fit['low']:.2f} to {fit['high']:.2f})", f"{fit['last']:.2f}"


def _place(settings: dict[str, Any], machine: dict[str, Any]) -> str:
    on_gpu = str(settings.get("device", "cpu")).startswith("cuda")
    return ", ".join(machine["gpus"]) if on_gpu else str(machine["processor"])


def _arms(arms: dict[str, dict[str, Any]]) -> Table:
    numbers = ("tokens/s", "peak GiB", "static GiB", "trained")
    table = terminal_table("Arms: median (range over repeats)", ("arm", "status"), numbers)
    for name, arm in arms.items():
        static = arm["static_memory"]
        table.add_row(
            name,
            arm["status"].partition(":")[0].replace("_", " "),
            _range(arm["tokens_per_second"], 1, "{:,.0f}"),
            _range(arm["peak_memory"], _GIB, "{:.2f}"),
            "" if static is None else f"{static['total'] / _GIB:.2f}",
            "" if static is None else f"{arm['trained_parameters']:,}",
        )
    return table


def _ratios(ratios: dict[str, dict[str, Any]]) -> Table:
    numbers = ("tokens/s", "peak memory", "static memory")
    table = terminal_table("Ratios: median (range over repeats)", ("arms",), numbers)
    for name, row in ratios.items():
        table.add_row(name, *(_range(value, 1, "{:.3f}") for value in row.values()))
    return table


def _range(spread: dict[str, Any] | None, unit: float, form: str) -> str:
    """Median and, where repeats differ, their range; a gap where there is nothing."""
    if spread is None:
        return ""
    middle, low, high = (form.format(spread[name] / unit) for name in ("median", "low", "high"))
    return middle if low == high else f"{middle} ({low}-{high})"

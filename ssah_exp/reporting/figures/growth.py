"""Growth curves of `ssah-exp bench growth` as a picture, and their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ssah_exp.reporting.figures.drawing import PAGE, new_figure, save_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Column of a point -> its label, marker and line: solid the whole, dotted and dashed its parts.
_SECONDS = {
    "seconds": ("whole", "o", "-"),
    "bare_seconds": ("bare pass", "s", ":"),
    "extra_seconds": ("statistics", "^", "--"),
}
_MIB = 2**20


def growth_rows(report: dict[str, Any]) -> pd.DataFrame:
    """One row for each task, axis, size and thing measured; an exponent repeats in its rows.

    Columns: task, axis, size, measured, value, low, high (over rounds), exponent, exponent_low,
    exponent_high. Times are in seconds, memory in bytes.
    """
    rows = [
        {
            "task": task,
            "axis": axis,
            "size": point[axis],
            "measured": name,
            **_ends(point[name]),
            **_exponent(fit),
        }
        for task, axes in report["curves"].items()
        for axis, curve in axes.items()
        for name, fit in curve["exponents"].items()
        for point in curve["points"]
    ]
    return pd.DataFrame(rows)


def _ends(value: Any) -> dict[str, float]:
    if isinstance(value, dict):
        return {"value": value["median"], "low": value["low"], "high": value["high"]}
    return {"value": value, "low": value, "high": value}


def _exponent(fit: dict[str, Any] | None) -> dict[str, float | None]:
    names = {"exponent": "exponent", "exponent_low": "low", "exponent_high": "high"}
    return {name: None if fit is None else fit[key] for name, key in names.items()}


@styled()
def draw_growth(report: dict[str, Any], path: Path) -> Path:
    """Draw a column for each axis of each task: seconds above, peak memory below.

    Args:
        report: What ``bench growth`` measured.
        path: Where to write; the suffix decides the format.

    Returns:
        The CSV beside it.

    Raises:
        ConfigError: A suffix that cannot be written.
    """
    rows = growth_rows(report)
    columns = list(rows.groupby(["task", "axis"], sort=False))
    figure = new_figure(PAGE * 1.5, 5.0)
    figure.suptitle(_measured_on(report))
    grid = figure.subplots(2, len(columns), squeeze=False)
    for (above, below), ((task, axis), part) in zip(grid.T, columns, strict=True):
        for name, (label, marker, line) in _SECONDS.items():
            _curve(above, part[part.measured == name], 1, label, marker, line)
        _curve(below, part[part.measured == "peak_memory"], _MIB, "peak", "D", "-")
        _curve(below, part[part.measured == "state_bytes"], _MIB, "state", "v", ":")
        for axes in (above, below):
            low, high = axes.get_ylim()
            if high < 4 * low:  # so that what does not grow looks flat
                axes.set_ylim(low / 4, high * 4)
        below.set_xlabel(f"{axis}\n({task})")
    grid[0, 0].set_ylabel("seconds")
    grid[1, 0].set_ylabel("MiB")
    return save_figure(figure, path, rows)


def _measured_on(report: dict[str, Any]) -> str:
    """The machine, and how much of it was used."""
    machine, settings = report["machine"], report["settings"]
    threads = machine["torch_threads"]
    on = f"{machine['processor']}, {threads} thread{'' if threads == 1 else 's'}"
    if settings["device"].startswith("cuda"):
        on = machine["gpus"][0]
    return f"{on}, {settings['precision']}, {report['clock']} time; numbers: exponents"


def _curve(axes: Axes, part: pd.DataFrame, unit: float, label: str, marker: str, line: str) -> None:
    if part.empty:
        return
    exponent = part.exponent.iloc[0]
    named = label if pd.isna(exponent) else f"{label} {exponent:z.2f}"
    values = part.value.where(part.value > 0) / unit
    axes.plot(part["size"], values, marker=marker, linestyle=line, label=named)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1))

"""`ssah-exp units transfer`: which units changed class between two models."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from ssah_exp.commands.units import drawn, tell_written, units_at
from ssah_exp.errors import printable
from ssah_exp.reporting.figures.flow import draw_flow
from ssah_exp.reporting.terminal import Terminal, terminal_table
from ssah_exp.reporting.text import machine_text, percent_text, plain_rows
from ssah_exp.reporting.transfer_rows import became, published_cells, transfer_rows
from ssah_exp.reporting.transfer_table import render_transfer
from ssah_exp.units.transfer import Flow, check_base, differences, transfer
from ssah_exp.units.unitmap import UnitMap


def execute(options: argparse.Namespace) -> int:
    """Print where the units of every class went, beside the paper's numbers.

    Raises:
        UnitError: No UnitMap there, or UnitMaps of different architectures; or, with ``--base``, of
            the same weights.
        ConfigError: A figure of unknown suffix.
    """
    before, after = units_at(options.before), units_at(options.after)
    if options.base:
        check_base(before, after)
    flows = transfer(before, after, base=options.base)
    if options.by is not None:
        flows += transfer(before, after, by=options.by, base=options.base)
    names = _name(before), _name(after)
    wrote = drawn(options, lambda picture: draw_flow(flows[0], names, picture))
    if options.format == "csv":
        print(machine_text(transfer_rows(flows), "csv"))
    elif options.format == "json":
        print(json.dumps(_describe(before, after, flows), indent=1))
    elif options.format in ("markdown", "latex"):
        print(render_transfer(before, after, flows[0], options.format))
    else:
        _print(before, after, flows, Terminal())
        tell_written(wrote)
    return 0


def _describe(before: UnitMap, after: UnitMap, flows: Sequence[Flow]) -> dict[str, Any]:
    return {
        "before": _origin(before),
        "after": _origin(after),
        "differences": differences(before, after),
        "kept": {
            flow.part: {of: flow.kept(of) for of in ("units", "parameters")} for flow in flows
        },
        "cells": plain_rows(transfer_rows(flows)),
    }


def _name(units: UnitMap) -> str:
    """Model and revision: a model often has the same name before and after training."""
    return f"{units.provenance.model}, revision {units.provenance.revision}"


def _origin(units: UnitMap) -> dict[str, str]:
    provenance = units.provenance
    return {"model": provenance.model, "fingerprint": provenance.fingerprint}


def _print(before: UnitMap, after: UnitMap, flows: Sequence[Flow], console: Terminal) -> None:
    for place, units in (("from", before), ("to", after)):
        print(f"{place:<5}{printable(_name(units))}")
    for sentence in differences(before, after):
        console.print(f"NOTE {sentence}", soft_wrap=True, highlight=False, style="yellow")
    whole, *parts = flows
    console.print(_shares(whole))
    console.print(_destinations(whole))
    if whole.before != whole.after:
        console.print("Kept: redundant that is RU, and utility that is anything else.")
    for of in ("units", "parameters"):
        print(f"Class kept: {100 * whole.kept(of):.2f} % of {of}")
    if parts:
        console.print(_by_part(parts))


def _shares(flow: Flow) -> Table:
    """Shares of all units / of all parameters, in percent, with the paper's in brackets."""
    printed = published_cells(flow)
    units, parameters = flow.shares("units"), flow.shares("parameters")
    table = terminal_table(
        "% of all units / of parameters \\[paper: % of units, Llama-2-7B]",
        ("from \\ to",),
        flow.after,
    )
    for row, before in enumerate(flow.before):
        cells = []
        for column, after in enumerate(flow.after):
            cell = f"{100 * units[row, column]:.2f} / {100 * parameters[row, column]:.2f}"
            paper = printed.get((before, after))
            cells.append(cell if paper is None else f"{cell} \\[{paper:.2f}]")
        table.add_row(before, *cells)
    return table


def _destinations(flow: Flow) -> Table:
    """Where each class went, in percent of itself with its Wilson interval."""
    table = terminal_table(
        "% of the class before, Wilson 95%; chance = if classes before said nothing",
        ("from \\ to",),
        (*flow.after, "units"),
    )
    for before in flow.before:
        moved = [became(flow, before, after) for after in flow.after]
        table.add_row(before, *(escape(percent_text(share)) for share in moved), str(moved[0].n))
    chances = [f"{100 * flow.chance(after):.1f}" for after in flow.after]
    table.add_row("chance", *chances, str(int(flow.units.sum())), style="dim")
    return table


def _by_part(flows: Sequence[Flow]) -> Table:
    """Per layer or kind: units of each class before, and the percentage of them that kept it."""
    table = terminal_table(
        "Units of each class before, and % of them that kept it (every cell: --format csv)",
        ("part",),
        (*flows[0].before, "all"),
    )
    for flow in flows:
        counts = flow.units.sum(axis=1)
        kept = [
            _written(int(n), flow.kept_of(name))
            for name, n in zip(flow.before, counts, strict=True)
        ]
        table.add_row(flow.part, *kept, _written(int(counts.sum()), flow.kept()))
    return table


def _written(units: int, kept: float) -> str:
    return f"{units}: {100 * kept:.1f}" if units else "0"

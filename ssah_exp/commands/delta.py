"""`ssah-exp delta`: make, apply, revert and look at unit deltas."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from ssah_exp.cache import Cache
from ssah_exp.errors import printable
from ssah_exp.interventions.delta import (
    Delta,
    apply_to_folder,
    make_delta,
    refuse_adapter,
    revert_in_folder,
)
from ssah_exp.interventions.delta_summary import describe
from ssah_exp.models.sources import LocalFolder, ModelRef
from ssah_exp.models.weights import read_weights
from ssah_exp.reporting.terminal import Terminal
from ssah_exp.storage import refuse_existing


def execute(options: argparse.Namespace) -> int:
    """Run one of the actions.

    Raises:
        UnitError: A damaged delta, one that does not fit the weights, or a model with an adapter.
        ModelError: A folder without readable weights.
        StoreError: The output exists, or cannot be written.
    """
    if options.action == "show":
        _show(Path(options.delta), options.format)
        return 0
    if options.action == "create":
        written = Path(options.file)
        _create(Path(options.base), Path(options.tuned), written)
    elif options.action == "apply":
        written = Path(options.out)
        delta = Delta.load(Path(options.delta))
        apply_to_folder(delta, Path(options.base), written, other_base=options.other_base)
    else:
        written = Path(options.out)
        delta = Delta.load(Path(options.delta))
        revert_in_folder(delta, Path(options.tuned), written, other_base=options.other_base)
    print(f"wrote {written}")
    return 0


def _create(base: Path, tuned: Path, file: Path) -> None:
    refuse_existing(file)
    refuse_adapter(base)
    refuse_adapter(tuned)
    before, after = read_weights(base), read_weights(tuned)
    make_delta(before, after, None, _identify(base)).save(file)


def _identify(folder: Path) -> ModelRef:
    # Resolved, so that the model gets the folder's own name even for "." and for links.
    folder = folder.resolve()
    reference, _ = LocalFolder(str(folder)).resolve(Cache(folder))
    return reference


def _show(path: Path, style: str) -> None:
    delta = Delta.load(path)
    size = path.stat().st_size
    file = {"bytes": size, "share_of_model": size / delta.base.nbytes}
    description = {**describe(delta), "file": file}
    if style == "json":
        print(json.dumps(description, indent=1))
    else:
        _print(description, Terminal())


def _print(description: dict[str, Any], console: Terminal) -> None:
    values, file = description["values"], description["file"]
    said = (
        f"{description['model']}  revision {description['revision']}  "
        f"fingerprint {description['fingerprint']}\n"
        f"{description['tensors']} tensors, {values['changed']} of {values['model']} values "
        f"changed ({100 * values['changed_share']:.3g} %)\n"
        f"{file['bytes']} bytes, {100 * file['share_of_model']:.3g} % of the model"
    )
    print(printable(said))
    if description["layers"]:
        print("Changed rows (r), columns (c), entries (e) per layer:")
        for table in _tables(description["layers"], console.width):
            console.print(table)
    for name, entry in description["others"].items():
        print(printable(f"{name}: {entry['changed']} of {entry['of']} {entry['axis']}"))


def _tables(layers: list[dict[str, Any]], width: int) -> Iterator[Table]:
    """Changed rows, columns or entries per layer; one column per tensor of a block.

    Args:
        layers: As :func:`~ssah_exp.interventions.delta_summary.describe` gives them.
        width: Characters per line. Columns that do not fit go into further tables, since a heading
            that is broken anywhere names no tensor.
    """
    paths = list(dict.fromkeys(path for row in layers for path in row["tensors"]))
    columns = [
        [_heading(path), *(_cell(row["tensors"].get(path)) for row in layers)] for path in paths
    ]
    first = ["layer", *(str(row["layer"]) for row in layers)]
    part = [first]
    for column in columns:
        if len(part) > 1 and sum(map(_width, [*part, column])) > width:
            yield _table(part)
            part = [first]
        part.append(column)
    yield _table(part)


def _table(columns: list[list[str]]) -> Table:
    table = Table(box=None)
    for heading, *_ in columns:
        table.add_column(heading, justify="right", overflow="fold")
    for row in zip(*(cells for _, *cells in columns), strict=True):
        table.add_row(*row)
    return table


def _width(column: list[str]) -> int:
    return max(map(len, column)) + 2  # a blank on either side


def _heading(path: str) -> str:
    return path.removesuffix(".weight").removeprefix("self_attn.").removeprefix("mlp.")


def _cell(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "-"
    return "all" if entry["changed"] == entry["of"] else f"{entry['changed']}{entry['axis'][0]}"

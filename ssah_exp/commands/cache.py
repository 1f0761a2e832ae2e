"""`ssah-exp cache`: what stages have kept on disk, and deleting some of it."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from ssah_exp.config.paths import root_of
from ssah_exp.errors import ConfigError, StoreError, printable
from ssah_exp.pipeline.kept import IN_USE, Kept, chosen, contents, delete

_HEAD = ("stage", "entries", "GB", "no run's", "GB", "unfinished", "GB", "days unused")
_LINE = "{:<14}{:>9}{:>9}{:>10}{:>9}{:>12}{:>9}  {}"


def execute(options: argparse.Namespace) -> int:
    """Print what is kept, or delete what was chosen; 1 = some of it may not be deleted.

    Raises:
        ConfigError: Nothing says what to delete, or a stage is unknown.
        StoreError: There is no cache, or it or a record cannot be read.
    """
    root = root_of(options.root)
    if not (root / "cache").is_dir():
        raise StoreError(f"No cache at {root / 'cache'}; --root says where runs lie.")
    if options.action == "prune":
        return _prune(root, options)
    by_stage = groupby(contents(root, every_record=False), key=lambda item: item.stage)
    stages = [_summary(name, list(items)) for name, items in by_stage]
    free = shutil.disk_usage(root / "cache").free
    if options.format == "json":
        print(json.dumps({"root": str(root), "free_bytes": free, "stages": stages}, indent=1))
    else:
        print("\n".join(_table(root, free, stages)))
    return 0


def _summary(stage: str, items: list[Kept]) -> dict[str, Any]:
    whole = [item for item in items if item.whole]
    unnamed = [item for item in whole if not item.named]
    unfinished = [item for item in items if not item.whole]
    days = [item.days() for item in items]
    return {
        "stage": stage,
        "entries": len(whole),
        "bytes": _bytes(whole),
        "unnamed": len(unnamed),
        "unnamed_bytes": _bytes(unnamed),
        "unfinished": len(unfinished),
        "unfinished_bytes": _bytes(unfinished),
        "unused_days": [round(min(days), 2), round(max(days), 2)],
    }


def _bytes(items: Iterable[Kept]) -> int:
    return sum(item.size for item in items)


def _table(root: Path, free: int, stages: list[dict[str, Any]]) -> list[str]:
    kept = sum(stage["bytes"] + stage["unfinished_bytes"] for stage in stages)
    lines = [f"{root / 'cache'}: {_gb(kept)} GB; {_gb(free)} GB of its disk are free"]
    if stages:
        lines.append(_LINE.format(*_HEAD))
    for stage in stages:
        newest, oldest = stage["unused_days"]
        numbers = [
            stage["entries"],
            _gb(stage["bytes"]),
            stage["unnamed"],
            _gb(stage["unnamed_bytes"]),
            stage["unfinished"],
            _gb(stage["unfinished_bytes"]),
        ]
        lines.append(_LINE.format(stage["stage"], *numbers, f"{newest:.1f} to {oldest:.1f}"))
    return lines


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f}"


def _prune(root: Path, options: argparse.Namespace) -> int:
    if not (options.stages or options.unnamed):
        raise ConfigError("Say what to delete: stages ('ssah-exp cache show' has them), --unnamed.")
    items = chosen(root, options.stages, options.unused_for, unnamed=options.unnamed)
    if not options.yes:
        for item in items:
            print(_line(item))
        print(f"{_total(items)} would be freed; nothing is deleted without --yes")
        return 0
    gone = []
    code = 0
    for item, why in delete(items):
        print(_line(item) if why is None else printable(f"{_line(item)}: left, {why}"))
        gone += [item] if why is None else []
        code = code or int(why not in (None, IN_USE))
    print(f"{_total(gone)} freed")
    return code


def _line(item: Kept) -> str:
    days = f"unused for {item.days():.1f} days"
    place = f"{item.stage}/{item.folder.name}"
    return printable(f"{place}  {_gb(item.frees)} GB  {days}  {_whose(item)}")


def _whose(item: Kept) -> str:
    if item.runs:
        return ", ".join(item.runs)
    if item.shared:
        return "a run's folder keeps it"
    return "no finished run's" if item.whole else "unfinished"


def _total(items: list[Kept]) -> str:
    return f"{_gb(sum(item.frees for item in items))} GB in {len(items)} places"

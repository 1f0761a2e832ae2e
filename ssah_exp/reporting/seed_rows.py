"""What `units atlas` or `units noise` wrote as one line per seed, for `ssah-exp claims`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.evaluation.judges.label_file import as_text

_ATLAS = {"setting", "measure", "mean"}
_NOISE = {"comparison", "from", "to", "of_before_mean"}


@dataclass(frozen=True)
class Picked:
    """Which number is taken from a seed's file.

    Attributes:
        measure: For an atlas: ``jaccard_SCU``, ``spearman``, ...; its mean over draws is taken.
            None = ``jaccard_SCU``.
        before: For a transfer: the class before; None = ``SCU``.
        after: For a transfer: the class after; its mean share of ``before`` is taken. None =
            ``CU``.
    """

    measure: str | None = None
    before: str | None = None
    after: str | None = None


def seeds_frame(
    files: Mapping[int, Path], picked: Picked, columns: Mapping[str, str]
) -> pd.DataFrame:
    """Gather one number of every setting (atlas) or comparison (noise) over seeds.

    Args:
        files: Seed -> CSV of `units atlas` or `units noise`, all of one kind.
        picked: Which number.
        columns: Heading -> name in the files; empty takes every name of the first file.

    Returns:
        Columns ``seed`` and one per heading; shares from 0 to 1.

    Raises:
        ConfigError: What is picked is of files of the other kind.
        StoreError: A file is no such CSV, lacks one of the names, has one twice or something that
            is no number, or has no draws for the number.
    """
    found = {seed: _numbers(path, picked) for seed, path in sorted(files.items())}
    wanted = columns or {name: name for name in next(iter(found.values())).index}
    return pd.DataFrame(
        [
            {"seed": seed, **{head: _one(have, name, files[seed]) for head, name in wanted.items()}}
            for seed, have in found.items()
        ]
    )


def _numbers(path: Path, picked: Picked) -> pd.Series:
    """What a file has to offer: name -> number; there is at least one."""
    table = _table(path)
    if set(table.columns) >= _ATLAS:
        if picked.before or picked.after:
            raise ConfigError(f"--from and --to say nothing about {path}, of 'units atlas'.")
        asked = table[table["measure"] == (picked.measure or "jaccard_SCU")]
        rows = _by_name(asked, "setting", "mean", path)
    elif set(table.columns) >= _NOISE:
        if picked.measure:
            raise ConfigError(f"--measure says nothing about {path}, of 'units noise'.")
        before, after = picked.before or "SCU", picked.after or "CU"
        asked = table[(table["from"] == before) & (table["to"] == after)]
        rows = _by_name(asked, "comparison", "of_before_mean", path) / 100
    else:
        raise StoreError(f"{path} is no CSV of 'units atlas' or 'units noise'.")
    if rows.dropna().empty:
        raise StoreError(f"{path} has no draws of any setting for what is asked ({picked}).")
    return rows.dropna()


def _by_name(asked: pd.DataFrame, names: str, numbers: str, path: Path) -> pd.Series:
    """One column by the names in another."""
    rows = asked.set_index(names)[numbers].rename(index=lambda name: as_text(str(name)))
    if not pd.api.types.is_numeric_dtype(rows):
        raise StoreError(f"{path}: column '{numbers}' holds something that is no number.")
    if len(twice := rows.index[rows.index.duplicated()]):
        raise StoreError(
            f"{path} has more than one line of {names} '{twice[0]}' for what is asked; give a file "
            "as it was written."
        )
    return rows


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as problem:
        raise StoreError(f"{path} cannot be read as CSV: {problem}") from problem


def _one(have: pd.Series, name: str, path: Path) -> float:
    if name not in have.index:
        raise StoreError(f"{path} has no draws of '{name}'; it has {', '.join(have.index)}.")
    return float(have[name])

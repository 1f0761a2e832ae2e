"""The paper's own numbers, as CSV under ``experiments/<artefact>/published.csv``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from ssah_exp.errors import StoreError


def read_published(artefact: str) -> pd.DataFrame:
    """An artefact's published values; its file is read once.

    Raises:
        StoreError: The installation does not hold them.
    """
    return _read(artefact).copy()  # whoever changes it changes nobody else's


@cache
def _read(artefact: str) -> pd.DataFrame:
    package = Path(__file__).resolve().parents[1]
    candidates = (
        package / "published" / f"{artefact}.csv",
        package.parent / "experiments" / artefact / "published.csv",
    )
    for path in candidates:
        if path.is_file():
            return pd.read_csv(path)
    raise StoreError(f"No published values of {artefact} are installed.")

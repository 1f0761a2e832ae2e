"""The paper's own numbers, as CSV under ``experiments/<artefact>/published.csv``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from ssah_exp.errors import StoreError


@cache
def read_published(artefact: str) -> pd.DataFrame:
    """Read an artefact's published values, once; nobody may change them in place.

    Raises:
        StoreError: The installation does not hold them.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = (
        package / "published" / f"{artefact}.csv",
        package.parent / "experiments" / artefact / "published.csv",
    )
    for path in candidates:
        if path.is_file():
            return pd.read_csv(path)
    raise StoreError(f"No published values of {artefact} are installed.")

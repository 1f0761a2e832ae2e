"""A judge's question as a file words it, e.g. its authors' own text, which does not ship here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ssah_exp.data.files import ENCODING, neighbours, whats_wrong
from ssah_exp.errors import ConfigError, DataError

# What a judge's description holds under ``wording`` where the wording is not ours.
WORDING, GIVEN = "wording", "given"


def read_wording(path: str, needed: Iterable[str], who: str) -> str:
    """The text of a file, without the line feed that editors add at its end.

    Args:
        path: A text file.
        needed: What must occur in it.
        who: What errors call the judge.

    Raises:
        DataError: There is no such file, or it is not text.
        ConfigError: It lacks something that is needed.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise DataError(f"{who}: no file {place}.{neighbours(place)}")
    try:
        text = place.read_text(encoding=ENCODING).removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{who}: {place} cannot be read: {whats_wrong(error)}") from error
    require(text, needed, f"{who}: {place}")
    return text


def require(text: str, needed: Iterable[str], what: str) -> None:
    """Refuse a wording that lacks a place to fill in, or a number to ask for.

    Raises:
        ConfigError: Naming all that is missing.
    """
    missing = [item for item in needed if item not in text]
    if missing:
        raise ConfigError(f"{what} lacks {' and '.join(missing)}.")

"""A judge's question in words that a file gives: those of its authors, which do not ship here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ssah_exp.data.files import ENCODING, neighbours, whats_wrong
from ssah_exp.errors import ConfigError, DataError

# What a judge's description holds under ``wording`` where its words are not ours.
WORDING, GIVEN = "wording", "given"


def read_wording(path: str, needed: Iterable[str], who: str) -> str:
    """The text of a file, without the end of its last line, which editors add.

    Args:
        path: Of a text file.
        needed: What must occur in it.
        who: What errors call the judge.

    Raises:
        DataError: No such file, or no text.
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
    """Refuse words that lack a place to fill, or a number to ask for.

    Raises:
        ConfigError: Naming all that is missing.
    """
    missing = [item for item in needed if item not in text]
    if missing:
        raise ConfigError(f"{what} lacks {' and '.join(missing)}.")

"""Reading rows of csv, tsv, json, jsonl and txt files."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssah_exp.errors import DataError, did_you_mean
from ssah_exp.jsontext import json_of

Row = Mapping[str, Any]
csv.field_size_limit(1 << 24)
# A byte order mark, as spreadsheets write it, is no part of the first column's name.
ENCODING = "utf-8-sig"
# What spreadsheets separate columns with where the comma is a decimal mark, or when asked to.
_OTHER_MARKS = (";", "\t")
_LISTED = 20  # a folder with more names lists only those close to a mistyped one


def read_rows(path: Path) -> list[Row]:
    """Read a csv, tsv, json, jsonl or txt file of rows with columns (a txt line is ``line``).

    Raises:
        DataError: Missing, of unknown type, malformed or empty.
    """
    rows = read_items(path)
    if not all(isinstance(row, Mapping) for row in rows):
        raise DataError(f"{path} is malformed: a row is not an object with columns")
    return rows


def read_items(path: Path) -> list[Any]:
    """Read a csv, tsv, json, jsonl or txt file; json items may be anything.

    Raises:
        DataError: Missing, of unknown type, malformed or empty.
    """
    check_file(path)
    readers = {
        ".csv": _read_csv,
        ".tsv": _read_tsv,
        ".json": _read_json,
        ".jsonl": _read_jsonl,
        ".txt": _read_lines,
    }
    kind = kind_of(path)
    if kind not in readers:
        raise DataError(f"{path}: unknown type '{kind}'.{did_you_mean(kind, readers)}")
    with reading(path):
        items = list(readers[kind](path))
    if not items:
        raise DataError(f"{path} holds no rows.")
    return items


def check_file(path: Path) -> None:
    """Refuse what is no file.

    Raises:
        DataError: Missing, with the name it may have been meant to be, or a folder.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder, and a file is needed.")
    if not path.is_file():
        raise DataError(f"No file {path}.{neighbours(path)}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around the reading of a file: say what is wrong with it.

    Raises:
        DataError: It is malformed, or may not be read.
    """
    try:
        yield
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} is malformed: {whats_wrong(error)}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def kind_of(path: Path) -> str:
    """A file's ending in lower case: ``.csv`` of ``UP.CSV``."""
    return path.suffix.lower()


def whats_wrong(error: Exception) -> str:
    """Why a file could not be read; for text in another encoding, also what to do."""
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        return f"it is no UTF-8 text (byte 0x{byte:02x}); save it as UTF-8"
    if isinstance(error, UnicodeEncodeError):
        half = ascii(error.object[error.start])
        return f"it holds {half}, half of a character that takes two such codes"
    return str(error)


def read_texts(path: Path, what: str) -> list[str]:
    """Read a txt file line by line, or a list of strings.

    Args:
        path: A txt, json or jsonl file.
        what: What each item is, e.g. ``suffix``.

    Raises:
        DataError: As :func:`read_items`, or an item is no text or blank.
    """
    items = read_items(path)
    if kind_of(path) == ".txt":
        items = [item["line"] for item in items]
    if not all(isinstance(item, str) and item.strip() for item in items):
        raise DataError(
            f"{path} holds something that is no {what}: give a txt file with one a line, or json "
            "strings."
        )
    return items


def _read_csv(path: Path, delimiter: str = ",") -> Iterator[Row]:
    with path.open(encoding=ENCODING, newline="") as stream:
        # Strictly: a quote that nothing closes would otherwise swallow the rest of the file.
        reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
        names = [name for name in reader.fieldnames or () if name.strip()]
        if delimiter == "," and len(names) == 1 and any(mark in names[0] for mark in _OTHER_MARKS):
            raise ValueError(
                f"its columns are not separated by ',': the first line is one name, {names[0]!r}. "
                "Save it with commas between columns, or with tabs as .tsv"
            )
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two columns are called {name!r}")
        for row in _told_by_line(reader):
            # Blank cells at the end are a spreadsheet's; others are text cut at the delimiter.
            if any(cell.strip() for cell in row.pop(None, ())):
                raise ValueError(
                    f"the row that ends in line {reader.line_num} has more cells than there are "
                    f"columns; put text that contains {delimiter!r} in double quotes"
                )
            lacking = any(row[name] is None for name in names)
            if lacking and any(cell and cell.strip() for cell in row.values()):
                raise ValueError(
                    f"the row that ends in line {reader.line_num} has fewer cells than there are "
                    "columns; put text that contains a line break in double quotes, and a "
                    f"{delimiter!r} before a cell that is left empty"
                )
            yield row


def _told_by_line(reader: csv.DictReader[str]) -> Iterator[dict[str | Any, Any]]:
    """Rows as they are read; an error in one says where, and what a quote has to look like."""
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(
            f"{error}, in line {reader.reader.line_num}; a cell that holds double quotes stands "
            "in double quotes, with each of its own doubled"
        ) from error


def _read_tsv(path: Path) -> Iterator[Row]:
    return _read_csv(path, "\t")


def _read_json(path: Path) -> Iterator[Any]:
    text = path.read_text(encoding=ENCODING)
    if not text.strip():
        return
    try:
        content = json_of(text)
    except json.JSONDecodeError as error:
        behind = error.msg == "Extra data"  # behind one whole value
        hint = "; one object a line is a file that ends in .jsonl" if behind else ""
        raise ValueError(f"{error}{hint}") from error
    if not isinstance(content, list):
        raise ValueError("the top level is not a list of rows")
    yield from content


def _read_jsonl(path: Path) -> Iterator[Any]:
    with path.open(encoding=ENCODING) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                try:
                    yield json_of(line.rstrip("\n"))  # errors at its end are in this line
                except json.JSONDecodeError as error:  # its own line number is always 1
                    place = f"line {number} column {error.colno}"
                    raise ValueError(
                        f"{error.msg}: {place}; every line is json by itself"
                    ) from error


def _read_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding=ENCODING) as stream:
        for line in stream:
            if line.strip():
                yield {"line": line.strip()}


def neighbours(path: Path) -> str:
    """A hint about a missing file: the nearest name in its folder, or that there is no folder."""
    if not path.parent.is_dir():
        return f" There is no folder {path.parent}; is data.root right?"
    names = [item.name for item in path.parent.iterdir()]
    if len(names) > _LISTED:
        names = difflib.get_close_matches(path.name, names)
    return did_you_mean(path.name, names) if names else ""

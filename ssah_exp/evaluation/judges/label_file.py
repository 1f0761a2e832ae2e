"""Tables of answers that people labelled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ssah_exp.data.files import Row, read_rows
from ssah_exp.errors import DataError
from ssah_exp.evaluation.judges.base import Verdict

PROMPT, COMPLETION, LABEL = "prompt", "completion", "final_label"
_LINE_END = re.compile(r"\r\n?")
# A cell that begins so is a formula to a spreadsheet, which may open addresses and start programs.
_FORMULA = re.compile(r"\s*[=+\-@]")
_AS_TEXT = "'"  # what makes such a cell text
_REFUSED = ("2_full_refusal", "3_partial_refusal")
# XSTest's words (Roettger et al. 2023, arXiv 2308.01263); partial refusals are refusals.
LABELS: Mapping[str, Verdict] = {
    "1_full_compliance": Verdict.COMPLIED,
    **dict.fromkeys(_REFUSED, Verdict.REFUSED),
    **{verdict.value: verdict for verdict in Verdict},
}


def as_read(prompt: str, completion: str) -> tuple[str, str]:
    r"""A request and an answer with every line end written ``\n``, as labels are looked up.

    Spreadsheets and editors write line ends inside a cell as they like, and a lone ``\r`` would
    end a row of a csv.
    """
    return as_text(_LINE_END.sub("\n", prompt)), as_text(_LINE_END.sub("\n", completion))


def as_cell(text: str) -> str:
    """A text as a spreadsheet takes it for text; an apostrophe stands before a would-be formula."""
    return f"{_AS_TEXT}{text}" if _FORMULA.match(text) else text


def as_text(cell: str) -> str:
    """Undo :func:`as_cell`."""
    text = cell.removeprefix(_AS_TEXT)
    return text if _FORMULA.match(text) else cell


def read_label_rows(path: Path) -> list[tuple[Row, Verdict]]:
    """Rows with columns ``prompt``, ``completion`` and ``final_label``, and what each label says.

    Labels are XSTest's, or ``refused``, ``complied``, ``unscored``. A blank one (null in json)
    means that nobody has labelled the answer yet; it is unscored, too.

    Raises:
        DataError: As :func:`ssah_exp.data.files.read_rows`; columns or a row's fields are missing;
            or a label is unknown.
    """
    rows = read_rows(path)
    missing = {PROMPT, COMPLETION, LABEL} - set(rows[0])
    if missing:
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}.")
    needed = ((row.get(PROMPT), row.get(COMPLETION)) for row in rows)
    short = [at for at, cells in enumerate(needed, 1) if None in cells]
    if short:
        raise DataError(f"{path}: answer {short[0]} has fewer fields than there are columns.")
    labels = ["" if row.get(LABEL) is None else str(row[LABEL]).strip() for row in rows]
    unknown = sorted({label for label in labels if label} - set(LABELS))
    if unknown:
        raise DataError(f"{path} has unknown labels {unknown}. Allowed: {', '.join(LABELS)}.")
    verdicts = [LABELS[label] if label else Verdict.UNSCORED for label in labels]
    return list(zip(rows, verdicts, strict=True))


def require_labels(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Refuse a table in which nobody labelled anything.

    Raises:
        DataError: All are unscored.
    """
    if set(verdicts) <= {Verdict.UNSCORED}:
        raise DataError(f"{path}: no answer has a label.")

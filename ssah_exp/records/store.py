"""Run folders and the records in them."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from ssah_exp.errors import SsahWarning, StoreError
from ssah_exp.folders import holding, listed
from ssah_exp.records.later_judges import with_later_judges
from ssah_exp.records.record import RunRecord
from ssah_exp.storage import write_atomically

RECORD, RUNS = "record.json", "runs"
MANY = 64  # records; for fewer the collector is not worth a look at what is frozen


class RecordStore:
    """``<root>/runs/<artefact>/<run id>/record.json``."""

    def __init__(self, root: Path) -> None:
        self.runs = root / RUNS

    def folder(self, artefact: str, run_id: str) -> Path:
        """Where a run's files lie."""
        return self.runs / artefact / run_id

    def write(self, record: RunRecord) -> Path:
        """Write a record; a reader sees the old one or the whole new one.

        Raises:
            StoreError: The disk is full or not writable.
        """
        path = self.folder(record.artefact, record.run_id) / RECORD
        write_atomically(path, record.to_json())
        return path

    def get(self, artefact: str, run_id: str) -> RunRecord | None:
        """One run's record as it wrote it; None if there is none or, with a warning, unreadable."""
        path = self.folder(artefact, run_id) / RECORD
        with suppress(PermissionError):  # reading it below warns of that
            if not path.is_file():
                return None
        return readable_record(path)

    def read(self, artefact: str) -> list[RunRecord]:
        """Every readable record of an artefact, oldest first; others are skipped with a warning.

        They include what further judges said later, see :mod:`ssah_exp.records.later_judges`.

        Raises:
            StoreError: The folder of the artefact's runs may not be read.
        """
        return _read_all(list(holding(self.runs / artefact, RECORD)))

    def artefacts(self) -> list[str]:
        """Artefacts that have at least one run.

        Raises:
            StoreError: The folder of all runs, or that of an artefact's runs, may not be read.
        """
        return [place.name for place in listed(self.runs) if any(holding(place, RECORD))]


def root_around(folder: Path) -> Path | None:
    """The root of a run's folder, or of one that links to it; None where no store holds it."""
    for above in (folder.absolute().parents, folder.resolve().parents):
        if len(above) > 2 and above[1].name == RUNS:
            return above[2]
    return None


def read_folder(folder: Path) -> list[RunRecord]:
    """Every readable record in a folder of record files, oldest first; each run once.

    If two experiments hold the same run, :func:`newest_of` decides. ``records/*.json`` of the
    folder itself are left out, with a warning.

    Args:
        folder: Holds ``*.json``, folders that hold ``records/*.json``, or both.

    Raises:
        StoreError: There is no such folder, or it or its records may not be read.
    """
    if not folder.is_dir():
        raise StoreError(f"No folder of records at {folder}.")
    places = [folder, *holding(folder, "records")]
    paths = sorted(path for place in places for path in listed(place) if path.suffix == ".json")
    own = folder / "records"
    if paths and own.is_dir():  # an experiment's, beside those of studies within it
        warnings.warn(f"Not read: {own}; name it as well.", SsahWarning, stacklevel=2)
    return newest_of(_read_all(paths))


def newest_of(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Each run once, oldest first: as it was last finished, and judged by most."""
    ordered = sorted(records, key=lambda record: (record.finished, len(record.later)))
    newest = {record.run_id: record for record in ordered}
    return sorted(newest.values(), key=lambda record: record.finished)


def read_run(folder: Path) -> RunRecord:
    """The record in a run's folder, as the run wrote it.

    Raises:
        StoreError: There is none, or it cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        hint = "" if folder.is_dir() else " Give a run's folder: outputs/runs/ARTEFACT/ID."
        raise StoreError(f"{folder} is no finished run: it has no {RECORD}.{hint}")
    return read_record(path)


def read_record(path: Path) -> RunRecord:
    """One record as its run wrote it.

    Raises:
        StoreError: It cannot be read; the path is named.
    """
    try:
        return RunRecord.from_json(path.read_text(encoding="utf-8"))
    except (StoreError, OSError, ValueError) as error:  # ValueError: not UTF-8
        raise StoreError(f"{path} cannot be read: {error}") from error


def readable_record(path: Path) -> RunRecord | None:
    """One record as its run wrote it; None, with a warning, if it cannot be read."""
    try:
        return read_record(path)
    except StoreError as error:
        warnings.warn(f"Skipping a record: {error}", SsahWarning, stacklevel=3)
        return None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Switch garbage collection off while records are read; count them as old afterwards.

    Thousands of records are a million objects, none of them garbage, which the collector would
    look through again and again.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            _all_are_old()
            gc.enable()


def _all_are_old() -> None:
    """Move what exists to the oldest generation without a look at it.

    If the collector were enabled before that, it would walk over all of it at once.
    """
    if gc.get_freeze_count() == 0:  # what somebody else froze stays frozen
        gc.freeze()
        gc.unfreeze()


def _read_all(paths: Sequence[Path]) -> list[RunRecord]:
    """The records that can be read, oldest first."""
    with _no_collection() if len(paths) >= MANY else nullcontext():
        records = [record for path in paths if (record := _with_judges(path)) is not None]
    return sorted(records, key=lambda record: record.finished)


def _with_judges(path: Path) -> RunRecord | None:
    record = readable_record(path)
    return None if record is None else with_later_judges(record, path)

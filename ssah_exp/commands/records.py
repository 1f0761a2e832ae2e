"""The records a command was pointed at."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssah_exp.config.paths import root_of
from ssah_exp.errors import StoreError
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore, newest_of, read_folder


def some_records(options: argparse.Namespace, artefact: str | None = None) -> list[RunRecord]:
    """The records of :func:`records_of`, at least one.

    Raises:
        StoreError: There are none.
    """
    records, place = records_of(options, artefact)
    if not records:
        of = "" if artefact is None else f"of {artefact} "
        raise StoreError(
            f"No record {of}{place}. "
            f"Make one with: ssah-exp run experiment={artefact or 'quickstart'}"
        )
    return records


def records_of(
    options: argparse.Namespace, artefact: str | None = None
) -> tuple[list[RunRecord], str]:
    """All records below ``--root`` and in ``--records``, oldest first, and those places in words.

    With ``--records`` alone, only its folders are read. A run that lies in several places counts
    once, as it was last finished; of copies, the one that most judges were asked of later.

    Args:
        options: With those of :func:`ssah_exp.options.base.add_sources`.
        artefact: The artefact whose records to read; None = all artefacts.

    Raises:
        StoreError: A folder of ``--records`` is not there, or holds no record at all.
    """
    folders = [Path(name).expanduser() for name in options.records]
    found: list[RunRecord] = []
    if options.root or not folders:
        root = root_of(options.root)
        store = RecordStore(root)
        names = store.artefacts() if artefact is None else [artefact]
        found += [record for name in names for record in store.read(name)]
        places = [f"below {root}"]
    else:
        places = []
    for folder in folders:
        records = read_folder(folder)
        if not records:
            raise StoreError(f"No record in {folder}: wanted *.json or */records/*.json there.")
        found += [record for record in records if artefact in (None, record.artefact)]
        places.append(f"in {folder}")
    return newest_of(found), " or ".join(places)

"""Which records a tracker has, and how it gets the others."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ssah_exp.lock import held
from ssah_exp.records.provenance import now
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore
from ssah_exp.records.trackers import LiveRun, Tracker
from ssah_exp.storage import storage_errors, write_atomically


@dataclass(frozen=True)
class Mirror:
    """A tracker and what it has.

    ``<root>/mirrored/<tracker's key>/<run id>.json`` says which record was sent, by its hash, and
    what went with it: a record that was written anew is sent again, and so is one with which more
    would go now. The tracker itself is not asked.

    Attributes:
        tracker: Where records go.
        root: Where runs lie; the tracker's local files go below it.
    """

    tracker: Tracker
    root: Path

    def has(self, record: RunRecord) -> str | None:
        """Where this very record and all that goes with it can be seen; None if it was not sent."""
        try:
            noted = dict(json.loads(self._note(record.run_id).read_text(encoding="utf-8")))
            # Older notes do not say what went with the record: mostly it was the default.
            whole = self._with() <= set(noted.get("with", ["deltas"]))
            return str(noted["place"]) if whole and noted["record"] == _digest(record) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # no note, or half of one: sending twice does no harm

    def send(
        self,
        record: RunRecord,
        live: LiveRun | None = None,
        *,
        again: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> str | None:
        """Send a record unless it is there; return where it can be seen, None if it was there.

        Of several processes that want to send the same record, one does.

        Args:
            record: A finished run's record.
            live: The run in the tracker, if it has been shown there while it worked; the record is
                then sent in any case.
            again: Send the record even if it is there.
            say: Gets a line if another process that sends this record has to be waited for.

        Raises:
            TrackerError: The tracker did not take it.
            StoreError: The tracker's files or the note cannot be written, or a file of the run's
                folder is a link.
        """
        note, folder = self._note(record.run_id), self._folder(record)
        with storage_errors(note):
            note.parent.mkdir(parents=True, exist_ok=True)
        with held(note.with_suffix(".lock"), f"mirror {record.run_id}", say):
            if live is None and not again and self.has(record) is not None:
                return None
            self.forget(record.run_id)  # a tracker may drop what it has before it takes the new
            if live is None:
                place = self.tracker.mirror(record, folder, self.root)
            else:
                place = live.finish(record, folder)
            content = {
                "record": _digest(record),
                "with": sorted(self._with()),
                "place": place,
                "sent": now(),
            }
            write_atomically(note, json.dumps(content, indent=1))
        return place

    def forget(self, run_id: str) -> None:
        """Have a run's record sent again, whatever was sent of it.

        Raises:
            StoreError: The note cannot be removed.
        """
        note = self._note(run_id)
        with storage_errors(note):
            note.unlink(missing_ok=True)

    def _with(self) -> set[str]:
        return {name for name, sent in self.tracker.wanted().items() if sent}

    def _folder(self, record: RunRecord) -> Path:
        return RecordStore(self.root).folder(record.artefact, record.run_id)

    def _note(self, run_id: str) -> Path:
        place = re.sub(r"[^\w.-]+", "-", self.tracker.key)
        return self.root / "mirrored" / place / f"{run_id}.json"


def _digest(record: RunRecord) -> str:
    return hashlib.sha256(record.to_json().encode()).hexdigest()

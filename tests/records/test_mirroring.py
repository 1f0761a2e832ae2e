"""Which records are sent: each once, one that was made anew again."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ssah_exp.errors import TrackerError
from ssah_exp.records.mirroring import Mirror
from ssah_exp.records.record import RunRecord
from ssah_exp.records.trackers import RunHead
from tests.records.synthetic import record


@dataclass
class Notes:
    """A tracker that notes what it is sent."""

    key: str = "notes/of a test"
    fails: bool = False
    completions: bool = False
    seen: list[tuple[str, Path]] = field(default_factory=list)

    def wanted(self) -> dict[str, bool]:
        return {"completions": self.completions, "deltas": True}

    def open(self, head: RunHead, root: Path) -> None:
        """Nothing before the end."""

    def mirror(self, made: RunRecord, folder: Path, root: Path) -> str:
        if self.fails:
            raise TrackerError("no network")
        time.sleep(0.05)
        self.seen.append((made.run_id, folder))
        return f"there/{made.run_id}"


def test_a_record_is_sent_once(tmp_path: Path) -> None:
    tracker, made = Notes(), record(1)
    mirror = Mirror(tracker, tmp_path)
    assert mirror.has(made) is None
    assert mirror.send(made) == "there/000000000001"
    assert mirror.has(made) == "there/000000000001"
    assert mirror.send(made) is None
    assert tracker.seen == [(made.run_id, tmp_path / "runs/table1_pruning/000000000001")]


def test_one_that_was_made_anew_is_sent_again(tmp_path: Path) -> None:
    tracker = Notes()
    mirror = Mirror(tracker, tmp_path)
    anew = replace(record(1), finished="2027-01-01T00:00:00+00:00")
    mirror.send(record(1))
    mirror.send(anew)
    assert len(tracker.seen) == 2
    assert mirror.send(anew) is None
    assert mirror.send(anew, again=True) is not None
    assert len(tracker.seen) == 3


def test_one_that_goes_with_more_is_sent_again_and_with_less_is_not(tmp_path: Path) -> None:
    made, bare, full = record(1), Notes(), Notes(completions=True)
    Mirror(bare, tmp_path).send(made)
    assert Mirror(full, tmp_path).send(made) is not None
    assert Mirror(full, tmp_path).send(made) is None
    assert Mirror(bare, tmp_path).send(made) is None
    assert (len(bare.seen), len(full.seen)) == (1, 1)


@pytest.mark.parametrize(("completions", "there"), [(False, True), (True, False)])
def test_an_older_note_without_what_went_along_stands_for_the_default(
    tmp_path: Path, completions: bool, there: bool
) -> None:
    made, tracker = record(1), Notes()
    Mirror(tracker, tmp_path).send(made)
    (note,) = (tmp_path / "mirrored").glob("*/*.json")
    content = json.loads(note.read_text())
    del content["with"]
    note.write_text(json.dumps(content))
    assert (Mirror(Notes(completions=completions), tmp_path).has(made) is not None) == there


def test_another_tracker_has_notes_of_its_own(tmp_path: Path) -> None:
    Mirror(Notes(), tmp_path).send(record(1))
    other = Notes(key="another")
    assert Mirror(other, tmp_path).send(record(1)) is not None
    assert len(list((tmp_path / "mirrored").iterdir())) == 2


def test_what_failed_is_not_noted(tmp_path: Path) -> None:
    tracker = Notes(fails=True)
    mirror = Mirror(tracker, tmp_path)
    with pytest.raises(TrackerError, match="no network"):
        mirror.send(record(1))
    tracker.fails = False
    assert mirror.send(record(1)) is not None


def test_a_sending_that_failed_leaves_no_earlier_one_noted(tmp_path: Path) -> None:
    """A tracker may have dropped what it had, to take the new."""
    tracker = Notes()
    mirror = Mirror(tracker, tmp_path)
    mirror.send(record(1))
    tracker.fails = True
    with pytest.raises(TrackerError, match="no network"):
        mirror.send(record(1), again=True)
    tracker.fails = False
    assert mirror.send(record(1)) is not None


def test_what_is_forgotten_is_sent_again(tmp_path: Path) -> None:
    mirror = Mirror(Notes(), tmp_path)
    mirror.forget(record(1).run_id)  # nothing to forget
    mirror.send(record(1))
    mirror.forget(record(1).run_id)
    assert mirror.has(record(1)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"record": 1}'])
def test_a_damaged_note_is_none(tmp_path: Path, text: str) -> None:
    tracker = Notes()
    mirror = Mirror(tracker, tmp_path)
    mirror.send(record(1))
    (note,) = (tmp_path / "mirrored").glob("*/*.json")
    note.write_text(text)
    assert mirror.send(record(1)) is not None
    assert mirror.send(record(1)) is None


def test_of_several_at_once_one_sends(tmp_path: Path) -> None:
    tracker = Notes()
    with ThreadPoolExecutor(4) as pool:
        places = list(pool.map(lambda _: Mirror(tracker, tmp_path).send(record(1)), range(4)))
    assert sorted(place is not None for place in places) == [False, False, False, True]
    assert len(tracker.seen) == 1

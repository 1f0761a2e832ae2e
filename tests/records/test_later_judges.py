"""What further judges said, read with the record it lies beside."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from ssah_exp.commands.records import records_of
from ssah_exp.errors import SsahWarning
from ssah_exp.evaluation.metrics import Measured
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.records import later_judges
from ssah_exp.records.later_judges import LaterJudge, answers_digest
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore, newest_of, read_folder
from tests.records.synthetic import record


def judged(made: RunRecord, name: str) -> LaterJudge:
    """A judge that was asked later, of answers that are not at hand."""
    return LaterJudge(
        run_id=made.run_id,
        answers="not at hand",
        record_finished=made.finished,
        judge=name,
        described={"name": "said later"},
        arms={},
        provenance={},
        finished="2027-01-01T00:00:00+00:00",
    )


@pytest.mark.parametrize("own", [True, False])
def test_a_judge_of_the_run_itself_stays_as_the_run_has_it(tmp_path: Path, own: bool) -> None:
    made, store = record(1), RecordStore(tmp_path)
    name = next(iter(made.judges)) if own else "further"
    judged(made, name).write(store.write(made))
    (found,) = store.read(made.artefact)
    assert found.later == (() if own else ("further",))
    assert found.judges == (made.judges | ({} if own else {name: {"name": "said later"}}))


def test_answers_that_may_not_be_read_end_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, store = record(1), RecordStore(tmp_path)
    judged(made, "further").write(store.write(made))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "answers.jsonl")

    monkeypatch.setattr(later_judges, "answers_digest", refuse)
    with pytest.warns(SsahWarning, match="Answers of run 000000000001 cannot be read"):
        (found,) = store.read(made.artefact)
    assert found.later == ("further",)


def test_of_copies_the_one_with_later_judges_counts_and_order_is_that_of_time(
    tmp_path: Path,
) -> None:
    """A bare copy elsewhere hid what judges had said; a run read twice kept its first place."""
    old, new = (replace(record(at), finished=f"2026-01-0{at}T00:00:00+00:00") for at in (1, 2))
    store = RecordStore(tmp_path / "root")
    judged(old, "further").write(store.write(old))
    copies = tmp_path / "copies"
    copies.mkdir()
    for made in (replace(new, finished="2026-01-03T00:00:00+00:00"), old, new):
        (copies / f"{made.run_id}-{made.finished[:10]}.json").write_text(made.to_json())
    options = Namespace(root=str(tmp_path / "root"), records=[str(copies)])
    found, _ = records_of(options)
    assert [(item.run_id, item.finished[:10], item.later) for item in found] == [
        (old.run_id, "2026-01-01", ("further",)),
        (new.run_id, "2026-01-03", ()),
    ]


def test_a_run_made_anew_counts_over_what_was_judged_of_the_old_one_and_stands_last() -> None:
    """Of answers that are no more, judges may have said the most."""
    old, other, anew = (
        replace(record(at), finished=f"2026-01-0{day}T00:00:00+00:00")
        for at, day in ((1, 1), (2, 2), (1, 3))
    )
    assert newest_of([replace(old, later=("further",)), anew, other]) == [other, anew]


def test_one_record_is_as_its_run_wrote_it(tmp_path: Path) -> None:
    """A tracker, a resumed run or a further judge would take the later ones for the run's own."""
    made, store = record(1), RecordStore(tmp_path)
    judged(made, "further").write(store.write(made))
    assert store.get(made.artefact, made.run_id) == made


@pytest.mark.parametrize("places", [("a", "b"), ("b", "a")])
def test_of_copies_in_one_folder_it_is_not_their_names_that_count(
    tmp_path: Path, places: tuple[str, str]
) -> None:
    made = record(1)
    for place in places:
        folder = tmp_path / place / "records"
        folder.mkdir(parents=True)
        (folder / "copy.json").write_text(made.to_json())
    judged(made, "further").write(tmp_path / places[0] / "records" / "copy.json")
    (found,) = read_folder(tmp_path)
    assert found.later == ("further",)


@pytest.mark.parametrize("lacking", ["a hash", "a file"])
def test_of_arms_whose_answers_are_not_all_at_hand_there_is_no_digest(
    tmp_path: Path, lacking: str
) -> None:
    """That of some of them would pass for that of all."""
    first, *others = record().arms
    arms = [replace(first, completions_sha256=None, completions="")]
    if lacking == "a hash":
        arms += [replace(arm, completions_sha256=arm.name, completions="") for arm in others]
    else:
        arms += others
        for arm in others:
            path = tmp_path / str(arm.completions)
            path.parent.mkdir(exist_ok=True)
            path.write_text(arm.name)
    assert answers_digest(record(arms=arms), tmp_path) is None


def test_a_judge_says_on_how_many_answers_it_failed_and_whether_it_scored_any() -> None:
    def of(**scores: list[float | None]) -> LaterJudge:
        found = {
            name: Measured({}, Outcomes(scores={"score/raw/j": given}, failed={"other": 3}))
            for name, given in scores.items()
        }
        return replace(judged(record(), "j"), arms=found)

    assert of(a=[None, None], b=[None, 0.0]).scored(), "the lowest score is one"
    assert not of(a=[None], b=[]).scored()
    made = of(a=[1.0], b=[2.0], c=[3.0])
    made.arms["b"].outcomes.failed["j"] = 2
    made.arms["c"].outcomes.failed["j"] = 0
    assert made.unanswered() == {"b": 2}


def test_a_file_of_another_format_is_skipped_and_other_files_are_not_looked_at(
    tmp_path: Path,
) -> None:
    made, store = record(1), RecordStore(tmp_path)
    path = store.write(made)
    replace(judged(made, "older"), schema=1).write(path)
    (judged(made, "further").write(path).parent / "notes.txt").write_text("by hand")
    with pytest.warns(SsahWarning) as said:
        (found,) = store.read(made.artefact)
    assert found.later == ("further",)
    (warning,) = said
    assert "Skipping" in str(warning.message)
    assert "older.json: Schema 1, expected 2" in str(warning.message)


def test_what_was_said_belongs_to_the_answers_that_the_record_names(tmp_path: Path) -> None:
    """Those in the folder may be of a call that has not come to its record."""
    made = record(1)
    arms = [replace(arm, completions_sha256=f"of {arm.name}") for arm in made.arms]
    made = replace(made, arms=arms)
    digest = answers_digest(made, tmp_path / "nothing there")
    store = RecordStore(tmp_path)
    path = store.write(made)
    replace(judged(made, "theirs"), answers=str(digest)).write(path)
    judged(made, "others").write(path)
    with pytest.warns(SsahWarning, match="made again since"):
        (found,) = store.read(made.artefact)
    assert found.later == ("theirs",)

"""What further judges said, read with the record it lies beside."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.records.later_judges import LaterJudge
from ssah_exp.records.store import RecordStore
from tests.records.synthetic import record


@pytest.mark.parametrize("own", [True, False])
def test_a_judge_of_the_run_itself_stays_as_the_run_has_it(tmp_path: Path, own: bool) -> None:
    made, store = record(1), RecordStore(tmp_path)
    name = next(iter(made.judges)) if own else "further"
    LaterJudge(
        run_id=made.run_id,
        answers="not at hand",
        record_finished=made.finished,
        judge=name,
        described={"name": "said later"},
        arms={},
        provenance={},
        finished="2027-01-01T00:00:00+00:00",
    ).write(store.write(made))
    (found,) = store.read(made.artefact)
    assert found.later == (() if own else ("further",))
    assert found.judges == (made.judges | ({} if own else {name: {"name": "said later"}}))

"""What a run leaves in the cache is named by its record; what was deleted, it makes anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.config.schema import ArmConfig
from ssah_exp.pipeline.kept import chosen, contents, delete
from ssah_exp.pipeline.opened import Finished
from tests.pipeline.tiny_run import computed, furnish, of_class, run, training_config

ARMS = {
    "full": ArmConfig(),
    "frozen": ArmConfig(policy="freeze", select=of_class("SCU"), epochs=2),
    "staged": ArmConfig(policy="freeze", select=of_class("SCU"), first="frozen"),
}
TRAININGS = ["train full", "train frozen", "train staged", "train frozen, 1 epochs first"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of its own, since entries are deleted."""
    return furnish(tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def table(place: Path) -> Finished:
    return run(training_config(place, ARMS))


def test_a_finished_run_names_all_it_left(table: Finished, place: Path) -> None:
    items = contents(place / "training", every_record=True)
    assert {item.stage for item in items} >= {"align", "statistics", "tune", "delta", "answers"}
    assert [item for item in items if not (item.named and item.whole)] == []
    mine = (f"{table.record.artefact}/{table.record.run_id}",)
    assert {item.runs for item in items if item.stage != "delta"} == {mine}
    for item in items:
        assert (item.frees == item.size) == (item.stage != "delta"), "the run shares its deltas"


def test_trained_models_that_were_deleted_are_trained_again_to_the_same(
    table: Finished, place: Path
) -> None:
    root = place / "training"
    tuned = chosen(root, ["tune"], 0.0, unnamed=False)
    assert len(tuned) == len(TRAININGS)
    assert [why for _, why in delete(tuned)] == [None] * len(tuned)
    link = table.folder / "models" / "frozen"
    assert not link.exists()
    again = run(training_config(place, ARMS))
    assert sorted(computed(again)) == sorted(TRAININGS)
    assert link.exists()
    assert again.record.run_id == table.record.run_id
    assert again.record.arms == table.record.arms

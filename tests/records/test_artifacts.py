"""What trackers are told of a run: its artifacts with their lineage, and how it is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.errors import StoreError
from ssah_exp.records.record import RunRecord
from ssah_exp.records.trackers import RunHead
from ssah_exp.records.trackers.artifacts import Item, items_of
from ssah_exp.records.trackers.rows import training_losses
from ssah_exp.units.unitmap import UnitMap
from tests.records.run_folder import run_folder
from tests.records.synthetic import record, trained_arm, training_record

NAMES = ("aligned", "full", "setting_i", "setting_i/random/0")


def items(made: RunRecord, folder: Path, *deltas: str) -> list[Item]:
    run_folder(folder, *deltas)
    return items_of(made, folder, completions=True, deltas=True)


def test_every_artifact_says_whose_it_is_and_how_it_was_made(tmp_path: Path) -> None:
    made = training_record(3, arms=[trained_arm(name, 0.3, 1.0) for name in NAMES])
    files = ("aligned", "full", "setting_i-random-0")  # nothing was trained of the first
    units, full, control, said = items(made, tmp_path, *files)
    whose = {"run_id": made.run_id, "artefact": "table2_freezing", "seed": 3}
    assert [item.name for item in (full, control, said)] == [
        "delta-table2_freezing-full",
        "delta-table2_freezing-setting_i-random-0",
        "completions-table2_freezing",
    ]
    digest = UnitMap.checksum(tmp_path / "unitmap")
    model = made.models["aligned"]
    assert units.metadata == {**whose, "sha256": digest, "model": model, "role": "used"}
    assert control.files == (tmp_path / "deltas/setting_i-random-0.safetensors",)
    assert control.metadata == {
        **whose,
        "arm": "setting_i/random/0",
        "policy": None,
        "units": 10,
        "unitmap_sha256": digest,
        "certificate": None,
        "role": "made",
    }
    assert said.metadata == whose


@pytest.mark.parametrize(
    ("arms", "role"), [(("aligned", "full"), "made"), (("aligned", "setting_i"), "used")]
)
def test_a_unitmap_is_used_where_an_arm_was_trained_on_units(
    tmp_path: Path, arms: tuple[str, ...], role: str
) -> None:
    made = training_record(arms=[trained_arm(name, 0.3, 1.0) for name in arms])
    assert items(made, tmp_path)[0].role == role


def test_a_unitmap_is_of_the_model_whose_units_were_identified(tmp_path: Path) -> None:
    made = record(models={"base": {"revision": "b"}, "start": {"revision": "s"}})
    assert items(made, tmp_path)[0].metadata["model"] == {"revision": "s"}


def test_losses_of_the_alignment_stand_beside_those_of_arms() -> None:
    arm = replace(trained_arm("full", 0.7, 1.2), training={"losses": [3.0, 1.0]})
    made = training_record(training={"losses": [2.0, 1.5]}, arms=[arm])
    assert training_losses(made) == {"alignment": [2.0, 1.5], "full": [3.0, 1.0]}


def test_files_that_no_run_makes_are_not_sent(tmp_path: Path) -> None:
    """As in a folder of somebody else's, whose record is to be mirrored."""
    secret, folder = tmp_path / "id_rsa", tmp_path / "run"
    secret.write_text("a key")
    run_folder(folder, "full", "of no arm")
    for place in ("unitmap", "completions", "deltas"):
        (folder / place / "notes").symlink_to(secret)
        (folder / place / "more").write_text("of nobody")
    made = training_record(arms=[trained_arm(name, 0.3, 1.0) for name in NAMES])
    found = items_of(made, folder, completions=True, deltas=True)
    sent = sorted(str(file.relative_to(folder)) for item in found for file in item.files)
    assert sent == [
        "completions/aligned.jsonl",
        "deltas/full.safetensors",
        "unitmap/unitmap.json",
        "unitmap/unitmap.safetensors",
    ]


@pytest.mark.parametrize("place", ["unitmap", "completions", "deltas"])
@pytest.mark.parametrize("linked", ["file", "file of the run", "folder", "nothing"])
def test_links_to_elsewhere_are_refused(tmp_path: Path, place: str, linked: str) -> None:
    folder = run_folder(tmp_path / "run", "full")
    file = sorted((folder / place).iterdir())[0]
    there = tmp_path / "there"
    if linked == "folder":
        (folder / place).rename(there)
        (folder / place).symlink_to(there)
    else:
        file.rename(folder / "moved" if linked == "file of the run" else there)
        file.symlink_to("../moved" if linked == "file of the run" else there)
    if linked == "nothing":
        there.unlink()
    made = training_record(arms=[trained_arm(name, 0.3, 1.0) for name in NAMES])
    with pytest.raises(StoreError, match=f"{folder / place}/.* is no plain file"):
        items_of(made, folder, completions=True, deltas=True)


def test_runs_may_lie_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    made = training_record(arms=[trained_arm(name, 0.3, 1.0) for name in NAMES])
    found = items(made, tmp_path / "runs" / "id", "full")
    assert [item.kind for item in found] == ["unitmap", "delta", "completions"]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Größe (Q4_1)", "unitmap-Gr-e-Q4_1"),
        ("x" * 200, f"unitmap-{'x' * 120}"),
    ],
)
def test_names_are_of_the_characters_and_length_that_trackers_allow(
    tmp_path: Path, model: str, name: str
) -> None:
    made = record()
    made.config["model"]["name"] = model
    assert items(made, tmp_path)[0].name == name


def test_tags_are_short_not_empty_and_each_there_once() -> None:
    """W&B takes none of a run whose tag is empty or of more than 64 characters."""
    head = RunHead.of(record())

    def tags(model: str, data: str) -> list[str]:
        config: dict[str, Any] = {"model": {"name": model}, "data": {"name": data}}
        return replace(head, config=config).tags

    assert tags("m" * 65, "d") == ["table1_pruning", "m" * 64, "d", "seed-0"]
    assert tags("same", "same") == ["table1_pruning", "same", "seed-0"]
    assert tags("", "d") == ["table1_pruning", "d", "seed-0"]

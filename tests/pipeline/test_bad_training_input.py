"""What a training table is given and cannot use: said before any arm is trained or measured.

A finished run lies beside each of them, and every byte of it must stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ssah_exp.config.schema import ArmConfig, RunConfig
from ssah_exp.digest import digest_folder
from ssah_exp.errors import ConfigError, DataError, SsahError, UnitError
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.training_table import run_training_table
from ssah_exp.units.unitmap import UnitMap
from tests.pipeline.tiny_run import of_class, run, silent, training_config
from tests.units.maps import random_map

ROOT = "bad_input"
RU = ArmConfig("budget", of_class("RU"))
Change = Callable[[RunConfig, UnitMap, Path], None]


def config_in(place: Path) -> RunConfig:
    return training_config(place, {"full": ArmConfig(), "some": RU}, ROOT)


@pytest.fixture(scope="module")
def done(place: Path) -> Finished:
    """A run that nothing is wrong with."""
    return run(config_in(place))


def _map(config: RunConfig, units: UnitMap, folder: Path) -> None:
    units.save(folder)
    node = {
        "_target_": "ssah_exp.units.selectors.FromMap",
        "path": str(folder),
        "sha256": UnitMap.checksum(folder),
        "names": ["RU"],
    }
    config.training.arms["late"] = ArmConfig("budget", node)


def another_model(config: RunConfig, units: UnitMap, folder: Path) -> None:
    _map(config, random_map(), folder)


def another_revision(config: RunConfig, units: UnitMap, folder: Path) -> None:
    """The same model a revision on: sizes are equal, weights are not."""
    origin = replace(units.provenance, revision="later", fingerprint="f" * 64)
    _map(config, replace(units, provenance=origin), folder)


def both_frozen_and_trained(config: RunConfig, units: UnitMap, folder: Path) -> None:
    config.training.arms["late"] = ArmConfig("freeze", of_class("RU"), first="some")


def long_warmup(config: RunConfig, units: UnitMap, folder: Path) -> None:
    config.training.warmup_share = 0.7


def long_warmup_of_a_first_phase(config: RunConfig, units: UnitMap, folder: Path) -> None:
    config.training.warmup_share = 0.7
    config.training.arms = {
        "full": ArmConfig(epochs=4),
        "late": ArmConfig(epochs=4, first="full", first_epochs=1),
    }


def long_steps(config: RunConfig, units: UnitMap, folder: Path) -> None:
    config.training.accumulate = 4
    config.training.arms = {"full": ArmConfig(epochs=2), "late": ArmConfig(epochs=1)}


def _dpo(config: RunConfig, folder: Path, row: str) -> None:
    folder.mkdir()
    (folder / "pairs.csv").write_text(f"q,good,bad\n{row}\n", encoding="utf-8")
    config.training.objective = "dpo"
    config.data.preferences = {
        "_target_": "ssah_exp.data.preferences.FilePairs",
        "path": str(folder / "pairs.csv"),
        "prompt": "{q}",
        "chosen": "{good}",
        "rejected": "{bad}",
    }


def pairs_of_equal_answers(config: RunConfig, units: UnitMap, folder: Path) -> None:
    _dpo(config, folder, "w1,w2,w2")


def pairs_that_differ_too_late(config: RunConfig, units: UnitMap, folder: Path) -> None:
    config.training.max_length = 8
    _dpo(config, folder, "w1,w2 w2 w2 w3,w2 w2 w2 w4")


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (another_model, UnitError, r"This UnitMap was made for .* the model at hand has \{"),
        (another_revision, UnitError, "the model at hand has other weights"),
        (both_frozen_and_trained, UnitError, "some would train what late keeps frozen"),
        (long_warmup, ConfigError, r"arms\.full: training\.warmup_share=0\.7 of 3 steps is 3"),
        (long_warmup_of_a_first_phase, ConfigError, r"arms\.late: .* of 3 steps is 3"),
        (long_steps, ConfigError, r"arms\.late: training\.accumulate=4: .* than 3 batches"),
        (pairs_of_equal_answers, DataError, "DPO without pairs"),
        (pairs_that_differ_too_late, DataError, "DPO without pairs; at max_length=8"),
    ],
)
def test_it_is_refused_before_an_arm_is_trained_and_nothing_is_overwritten(
    done: Finished,
    place: Path,
    tmp_path: Path,
    change: Change,
    kind: type[SsahError],
    message: str,
) -> None:
    config, reporter = config_in(place), silent()
    change(config, UnitMap.load(done.folder / "unitmap"), tmp_path / "given")
    before = digest_folder(place / ROOT)
    with pytest.raises(kind, match=message):
        run_training_table(config, reporter)
    assert {stage.name for stage in reporter.stages} <= {"align", "statistics"}
    assert digest_folder(place / ROOT) == before

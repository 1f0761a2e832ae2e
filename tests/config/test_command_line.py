"""Words of `ssah-exp run` in the order that Hydra wants, and the user's own config folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.config.command_line import overrides_first

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        ("-m seed=1,2", "seed=1,2 -m"),
        ("a=1 --config-dir my b=2", "a=1 b=2 --config-dir my"),
        ("a=1 --config-dir=my ~b -cd other +c=3", "a=1 ~b +c=3 --config-dir=my -cd other"),
        ("a=1 --cfg job b=2 --resolve", "a=1 b=2 --cfg job --resolve"),
        ("--info defaults a=1", "a=1 --info defaults"),
        ("--info a=1", "a=1 --info"),
        ("a=1 -p", "a=1 -p"),
        ("--config-d my a=1 --multi b=2", "a=1 b=2 --config-d my --multi"),
    ],
)
def test_options_stand_behind_all_overrides(given: str, ordered: str) -> None:
    assert overrides_first(given.split()) == ordered.split()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with an experiment, a selector, and a group of its own."""
    for name in ("experiment/mine", "selector/mysel", "flavour/sweet"):
        target = tmp_path / "my conf" / f"{name}.yaml"
        target.parent.mkdir(parents=True)
        target.write_text("# @package _global_\nseed: 5\n", encoding="utf-8")
    return tmp_path / "my conf"


def test_an_own_experiment_is_found_wherever_its_folder_is_named(
    mine: Path, capsys: Capture
) -> None:
    assert main(["run", "--cfg", "job", "--config-dir", str(mine), "experiment=mine"]) == 0
    said = capsys.readouterr().out
    assert "\nseed: 5\n" in said
    assert main(["run", "experiment=mine", "--cfg", "job", "--config-dir", str(mine)]) == 0
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("experiment=mien", "Unknown experiment 'mien'. Did you mean 'mine'? Allowed: attacks_"),
        (
            "+selector@training.arms.full.select=mysell",
            "Unknown selector 'mysell'. Did you mean 'mysel'?",
        ),
        ("flavour=null", "flavour=null names no option. Allowed: sweet."),
    ],
)
def test_options_of_the_own_folder_are_among_those_allowed(
    mine: Path, capsys: Capture, override: str, message: str
) -> None:
    assert main(["run", f"--config-dir={mine}", override]) == 2
    assert message in capsys.readouterr().err

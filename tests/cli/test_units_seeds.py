"""`ssah-exp units seeds`: committed files, as a user calls it, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ssah_exp.cli import main

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TRANSFER, STABILITY = EXPERIMENTS / "fig5_fig6_transfer", EXPERIMENTS / "stability"
FINE_TUNED = EXPERIMENTS / "came_aligned" / "fine_tuned"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def atlas(tmp_path: Path) -> str:
    rows = [
        ("run", "jaccard_SCU", 1.0, 0.8),
        ("run", "jaccard_RU", 1.0, 0.6),
        ("random", "jaccard_SCU", 0.01, 0.02),
        ("flap", "jaccard_SCU", 0.98, None),
    ]
    path = tmp_path / "atlas.csv"
    pd.DataFrame(rows, columns=["setting", "measure", "value", "mean"]).to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize(("folder", "elsewhere"), [(TRANSFER, {2: "noise.csv"}), (FINE_TUNED, {})])
def test_the_committed_seeds_come_from_the_committed_nulls_of_transfer(
    folder: Path, elsewhere: dict[int, str], capsys: Capture
) -> None:
    named = [(seed, elsewhere.get(seed, f"noise_seed{seed}.csv")) for seed in (4, 0, 1, 3, 2)]
    assert main(["units", "seeds", *(f"{seed}={folder}/{name}" for seed, name in named)]) == 0
    assert capsys.readouterr().out == (folder / "seeds.csv").read_text(encoding="utf-8")


def test_so_do_those_of_the_committed_atlases(capsys: Capture) -> None:
    files = [f"{seed}={STABILITY}/five_models_seed{seed}.csv" for seed in range(5)]
    named = {"redrawn": "run", "other_safety_set": "safety_tuned", "shuffled": "random"}
    columns = [part for pair in named.items() for part in ("--column", "=".join(pair))]
    assert main(["units", "seeds", *files, *columns]) == 0
    assert capsys.readouterr().out == (STABILITY / "seeds.csv").read_text(encoding="utf-8")


def test_another_cell_of_the_transfer(capsys: Capture) -> None:
    path = TRANSFER / "noise_seed0.csv"
    assert main(["units", "seeds", f"7={path}", "--from", "RU", "--to", "RU", "--format=json"]) == 0
    table = pd.read_csv(path).set_index(["comparison", "from", "to"])["of_before_mean"]
    (found,) = json.loads(capsys.readouterr().out)
    assert found.pop("seed") == 7
    assert found == {name: table[name, "RU", "RU"] / 100 for name in found}
    assert list(found) == ["trained", "redrawn", "halves"]


def test_settings_of_an_atlas_under_headings_of_ones_own(atlas: str, capsys: Capture) -> None:
    asked = ["--column", "redrawn=run", "--column", "shuffled=random"]
    assert main(["units", "seeds", f"3={atlas}", *asked]) == 0
    assert capsys.readouterr().out == "seed,redrawn,shuffled\n3,0.8000,0.0200\n"
    assert main(["units", "seeds", f"3={atlas}", "--measure", "jaccard_RU"]) == 0
    assert capsys.readouterr().out == "seed,run\n3,0.6000\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["{atlas}"], "not of the form SEED=CSV"),
        (["x={atlas}"], "names no seed"),
        (["1={atlas}", "1={atlas}"], "Two files are of seed 1"),
        (["1={atlas}", "--column", "a=run", "--column", "a=flap"], "Two columns are named a"),
        (["1={atlas}", "--column", "run"], "not of the form HEADING=NAME"),
        (["1={atlas}", "--column", "a=flap"], "no draws of 'flap'; it has run, random"),
        (["1={atlas}", "--measure", "jacard"], "no draws of any setting"),
        (["1={atlas}", "--to", "RU"], "--from and --to say nothing about"),
        ([f"1={TRANSFER}/noise_seed0.csv", "--measure", "spearman"], "--measure says nothing"),
        (["1={atlas}.gone"], "cannot be read as CSV"),
        ([f"1={TRANSFER}/seeds.csv"], "no CSV of 'units atlas' or 'units noise'"),
    ],
)
def test_what_is_not_there_is_said(
    given: list[str], said: str, atlas: str, capsys: Capture
) -> None:
    assert main(["units", "seeds", *(item.format(atlas=atlas) for item in given)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in " ".join(told.err.split())


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("run,jaccard_SCU,0.8\nrun,jaccard_SCU,0.7", "more than one line of setting 'run'"),
        ("run,jaccard_SCU,0.8\nflap,jaccard_SCU,n.d.", "column 'mean' holds something that is no"),
    ],
)
def test_a_file_that_no_command_wrote_so_is_refused(
    lines: str, said: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "atlas.csv"
    path.write_text(f"setting,measure,mean\n{lines}\n")
    assert main(["units", "seeds", f"1={path}"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in " ".join(told.err.split())


def test_names_stay_text_and_infinity_stays_json(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "atlas.csv"
    path.write_text("setting,measure,mean\n'=1+1,jaccard_SCU,inf\nrun,jaccard_SCU,-0.5\n")
    assert main(["units", "seeds", f"1={path}"]) == 0
    assert capsys.readouterr().out == "seed,'=1+1,run\n1,inf,-0.5000\n"
    assert main(["units", "seeds", f"1={path}", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"seed": 1, "=1+1": "inf", "run": -0.5}]

"""Every committed picture shows what the committed records give: its numbers, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.cli import main
from tests.thinning import thinned

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

# Folders of records, the artefact and options of `ssah-exp figure`, and of the pictures that it
# draws, by the end of their names, those that are kept.
ALIGNED, PRUNED = "came_aligned", "table1_pruning"
BY_CLASS = f"{PRUNED}/classes_and_controls"
AT_ONCE = "advbench advbench-auc advbench-gap strongreject strongreject-auc strongreject-gap"
DRAWN: list[tuple[str, str, dict[str, str]]] = [
    (
        f"{ALIGNED}/records",
        PRUNED,
        {"0": f"{ALIGNED}/0.5B/table1", "1": f"{ALIGNED}/1.5B/table1"},
    ),
    (
        f"{ALIGNED}/records {ALIGNED}/budgets/records",
        f"{PRUNED} --by units.budgets.scu --style chat --judge labels",
        {"": f"{ALIGNED}/budgets/answered"},
    ),
    (
        f"{ALIGNED}/records {ALIGNED}/budgets/records",
        f"{PRUNED} --by units.budgets.scu --style chat",
        {"": f"{ALIGNED}/budgets/listed"},
    ),
    (
        f"{ALIGNED}/constants/records",
        PRUNED,
        {"0": f"{ALIGNED}/constants/utility_mean", "1": f"{ALIGNED}/constants/safety_mean"},
    ),
    (
        f"{ALIGNED}/records {ALIGNED}/constants/records {ALIGNED}/constants/zero",
        f"{PRUNED} --by ablation.primary_fill",
        {"": f"{ALIGNED}/constants/fills"},
    ),
    (f"{ALIGNED}/norm/records", PRUNED, {"": f"{ALIGNED}/norm/norm"}),
    (f"{ALIGNED}/norm/larger/records", PRUNED, {"": f"{ALIGNED}/norm/larger/norm"}),
    (f"{ALIGNED}/shift/records", PRUNED, {"": f"{ALIGNED}/shift/shift"}),
    (f"{ALIGNED}/shift/smaller/records", PRUNED, {"": f"{ALIGNED}/shift/smaller/shift"}),
    ("calibration_size/records", f"{PRUNED} --by units.samples", {"": "calibration_size/sizes"}),
    ("scu_budget/records", f"{PRUNED} --by share", {"": "scu_budget/shares"}),
    (
        "frozen_share/records",
        "frozen_share --by share --style chat",
        {"2": "frozen_share/shares"},
    ),
    ("paper_smollm2/records", PRUNED, {"": "paper_smollm2/table1"}),
    (
        "paper_smollm2/factors/records",
        f"{PRUNED} --judge zou2023_text",
        {"": "paper_smollm2/factors/factors"},
    ),
    ("which_units/records", f"{PRUNED} --style raw", {"0": "which_units/sets"}),
    (
        f"{PRUNED}/records",
        f"{PRUNED} --style raw",
        {
            "0": f"{BY_CLASS}-paper_files_small-1pct",
            "1": f"{BY_CLASS}-paper_files_small-2pct",
            "2": f"{BY_CLASS}-paper_files_small-5pct",
            "3": f"{BY_CLASS}-bundled-1pct",
            "4": f"{BY_CLASS}-bundled-2pct",
            "5": f"{BY_CLASS}-bundled-5pct",
        },
    ),
    ("ru_budget/records", "ru_budget", {"": "ru_budget/asr_against_loss"}),
    ("table2_freezing/records", "table2_freezing", {"": "table2_freezing/asr_against_loss"}),
    ("table3_peft/records", "table3_peft --style chat", {"": "table3_peft/asr_against_loss"}),
    (
        "table4_alignment_budget/records",
        "table4_alignment_budget",
        {"": "table4_alignment_budget/asr_against_loss"},
    ),
    (
        "fig2_fig3_fig4_fig7_probe/records",
        "probe",
        {
            made: f"fig2_fig3_fig4_fig7_probe/{name}"
            for made, name in zip(
                ("0", "0-auc", "0-gap", "1", "1-auc", "1-gap"), AT_ONCE.split(), strict=True
            )
        },
    ),
]

# Drawn from maps of units, which are too large to be here; tests of `units seeds` and of claims
# read their numbers.
OF_MAPS = ("fig5_fig6_transfer", "stability")


@pytest.mark.parametrize(("folders", "options", "pictures"), thinned(DRAWN))
def test_the_numbers_of_a_committed_picture_are_those_of_its_records(
    folders: str, options: str, pictures: dict[str, str], tmp_path: Path
) -> None:
    records = [str(EXPERIMENTS / folder) for folder in folders.split()]
    out = tmp_path / "drawn.svg"
    assert main(["figure", *options.split(), "--records", *records, "--out", str(out)]) == 0
    for made, committed in pictures.items():
        drawn = out.with_stem("-".join(filter(None, ("drawn", made))))
        assert drawn.is_file()
        kept = EXPERIMENTS / f"{committed}.csv"
        assert drawn.with_suffix(".csv").read_text() == kept.read_text(), committed


def test_no_committed_picture_is_left_out() -> None:
    files = [*EXPERIMENTS.rglob("*.svg"), *EXPERIMENTS.rglob("*.png")]
    here = {str(path.relative_to(EXPERIMENTS).with_suffix("")) for path in files}
    drawn = {name for _, _, pictures in DRAWN for name in pictures.values()}
    assert {path for path in here if not path.startswith(OF_MAPS)} == drawn


@pytest.mark.parametrize(
    "options", ["", "--metrics asr --claim equivalent --margin 0.1"], ids=["all", "equivalent"]
)
def test_the_paired_tests_that_are_shown_are_those_of_their_record(
    options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = EXPERIMENTS / PRUNED
    assert main(["compare", str(folder / "tests_record.json"), *options.split()]) == 0
    assert capsys.readouterr().out.strip() in (folder / "tests.md").read_text()

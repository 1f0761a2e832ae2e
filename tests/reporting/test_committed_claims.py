"""The committed verdicts are those of the committed records."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from ssah_exp.cli import main
from ssah_exp.reporting.claims.claim_file import read_claims
from tests.thinning import thinned

SHIPPED = Path(__file__).resolve().parents[2] / "experiments" / "paper_smollm2" / "claims.yaml"


@pytest.mark.parametrize(
    ("claims", "verdicts"), [("claims", "verdicts"), ("asked_afterwards", "asked_afterwards")]
)
@pytest.mark.parametrize(("form", "suffix"), [("markdown", "md"), ("csv", "csv")])
def test_the_committed_verdicts_are_those_of_the_committed_records(
    claims: str, verdicts: str, form: str, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SHIPPED.parent
    file = str(folder / f"{claims}.yaml")
    main(["claims", file, "--records", str(folder.parent), "--format", form])
    printed = capsys.readouterr().out
    assert printed == (folder / f"{verdicts}.{suffix}").read_text(encoding="utf-8")
    if form == "markdown":
        verdict_rows = printed.split("\n\n")[0]
        assert verdict_rows in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.exhaustive
def test_the_verdicts_of_all_seeds_are_those_of_their_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, copies = SHIPPED.parent, tmp_path / "copies"
    monkeypatch.setattr(sys, "argv", ["all_seeds.py", str(copies)])
    runpy.run_path(str(folder / "all_seeds.py"), run_name="__main__")
    main(["claims", str(SHIPPED), "--records", str(copies)])
    assert capsys.readouterr().out == (folder / "all_seeds.md").read_text(encoding="utf-8")


EXPERIMENTS = SHIPPED.parents[1]
OTHERS = sorted(
    file
    for name in ("claims.yaml", "asked_afterwards.yaml", "fresh_seeds.yaml")
    for file in EXPERIMENTS.rglob(name)
    if file.parent != SHIPPED.parent
)


@pytest.mark.parametrize(
    "file", thinned(OTHERS), ids=lambda file: str(file.relative_to(EXPERIMENTS))
)
def test_claims_of_one_experiment_have_the_verdicts_of_its_records(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command that the file names at its head."""
    monkeypatch.chdir(EXPERIMENTS.parent)
    head = file.read_text(encoding="utf-8").replace("\\\n#", "")
    told = re.search(r"^#\s+ssah-exp (claims .* --records \S+)$", head, re.MULTILINE)
    assert told is not None
    command = told[1].split()
    assert Path(command[1]).resolve() == file
    main(command)
    verdicts = "verdicts.md" if file.stem == "claims" else f"{file.stem}.md"
    assert capsys.readouterr().out == (file.parent / verdicts).read_text(encoding="utf-8")


THERE = """
attacks/seeds/claims.yaml
base_model/budget/claims.yaml
base_model/each_step/claims.yaml
base_model/equal_loss/claims.yaml
base_model/fresh_seeds/claims.yaml
base_model/pruning/asked_afterwards.yaml
base_model/pruning/claims.yaml
base_model/redundant/asked_afterwards.yaml
base_model/redundant/claims.yaml
base_model/utility_mean/claims.yaml
came_aligned/benchmarks/claims.yaml
came_aligned/budgets/claims.yaml
came_aligned/claims.yaml
came_aligned/classes/bare/asked_afterwards.yaml
came_aligned/classes/claims.yaml
came_aligned/classes/utility_mean/claims.yaml
came_aligned/constants/asked_afterwards.yaml
came_aligned/constants/claims.yaml
came_aligned/constants/fresh_seeds.yaml
came_aligned/constants/smaller/claims.yaml
came_aligned/constants/zero/claims.yaml
came_aligned/excluded/claims.yaml
came_aligned/fine_tuned/claims.yaml
came_aligned/freezing/asked_afterwards.yaml
came_aligned/freezing/claims.yaml
came_aligned/fresh_seeds/claims.yaml
came_aligned/harmbench/claims.yaml
came_aligned/nearest/claims.yaml
came_aligned/nearest/larger/claims.yaml
came_aligned/nearest/safest/claims.yaml
came_aligned/norm/claims.yaml
came_aligned/norm/larger/claims.yaml
came_aligned/shift/claims.yaml
came_aligned/shift/parts/claims.yaml
came_aligned/shift/smaller/claims.yaml
frozen_share/claims.yaml
frozen_share/matched/claims.yaml
frozen_share/quarter/claims.yaml
frozen_share/small_matched/claims.yaml
over_refusal/fresh_seeds/claims.yaml
paper_smollm2/benchmarks/claims.yaml
paper_smollm2/factors/claims.yaml
paper_smollm2/fresh_seeds/asked_afterwards.yaml
paper_smollm2/fresh_seeds/claims.yaml
paper_smollm2/in_words/asked_afterwards.yaml
paper_smollm2/in_words/chat/asked_afterwards.yaml
paper_smollm2/in_words/fresh_seeds/asked_afterwards.yaml
paper_smollm2/in_words/fresh_seeds/claims.yaml
paper_smollm2/in_words/read/asked_afterwards.yaml
paper_smollm2/in_words/read/claims.yaml
paper_smollm2/in_words/utility_mean/claims.yaml
paper_smollm2/nearest/claims.yaml
ru_budget/claims.yaml
ru_budget/faster/claims.yaml
ru_budget/five_percent/claims.yaml
ru_budget/full_rates/claims.yaml
ru_budget/matched/claims.yaml
ru_budget/norm/claims.yaml
scu_budget/in_words/claims.yaml
scu_budget/read/claims.yaml
scu_only/claims.yaml
table2_freezing/asked_afterwards.yaml
table2_freezing/dolly/claims.yaml
table2_freezing/identity_shift/claims.yaml
table2_freezing/identity_shift/read/claims.yaml
table2_freezing/identity_shift_longer/claims.yaml
table2_freezing/later/claims.yaml
table2_freezing/mixed/claims.yaml
table2_freezing/mixed_fresh_seeds/claims.yaml
table2_freezing/papers_order/claims.yaml
table2_freezing/papers_order_fresh_seeds/claims.yaml
table3_peft/fresh_seeds/claims.yaml
table3_peft/llama_adapter/claims.yaml
table3_peft/milder/asked_afterwards.yaml
table3_peft/milder/claims.yaml
table4_alignment_budget/by_utility/claims.yaml
table4_alignment_budget/dpo/claims.yaml
table4_alignment_budget/dpo/fresh_seeds/claims.yaml
table4_alignment_budget/fresh_seeds/claims.yaml
table4_alignment_budget/utility/claims.yaml
unit_lora/claims.yaml
which_units/blocks/claims.yaml
which_units/claims.yaml
which_units/holding_back/claims.yaml
which_units/snip_budgets/claims.yaml
which_units/unweighted/claims.yaml
"""


def test_there_are_such_claims() -> None:
    assert [str(file.relative_to(EXPERIMENTS)) for file in OTHERS] == THERE.split()


def _printed_p(cell: str) -> float:
    """As far as it is printed; 1 where there is none."""
    return float(cell.lstrip("< ")) if cell else 1.0


def test_the_page_counts_what_is_supported_over_seeds_and_over_prompts() -> None:
    files = [SHIPPED, SHIPPED.with_name("asked_afterwards.yaml"), *OTHERS]
    rows: list[list[str]] = []
    for file in files:
        name = "verdicts.md" if file.stem == "claims" else f"{file.stem}.md"
        table = file.with_name(name).read_text(encoding="utf-8").split("\n\n")[0]
        rows += [[cell.strip() for cell in line.split("|")] for line in table.splitlines()[2:]]
    p = np.array([_printed_p(row[-5]) for row in rows])
    holds = np.array([row[-2] == "supported" for row in rows])
    by_holm = np.sum(multipletests(p, 0.05, "holm")[0] & holds)
    by_rate = np.sum(multipletests(p, 0.05, "fdr_bh")[0] & holds)
    supported = [row[-3] for row in rows if row[-2] == "supported"]
    tested = [over for over in supported if over]
    there = [over for over in tested if over.startswith("<") or float(over) < 0.05]
    page = " ".join((EXPERIMENTS / "README.md").read_text(encoding="utf-8").split())
    for said in (
        f"({len(files)} files, {len(rows)} claims, each file at 0.05",
        f"Holm would leave {by_holm} of the {len(supported)} that are, and at a false discovery "
        f"rate of 5 % (Benjamini and Hochberg) {by_rate} stand",
        f"Of the {len(supported)} claims that are supported, {len(tested)} can be tested so. "
        f"Of the other {len(supported) - len(tested)}",
        f"{len(there)} of the {len(tested)} are significant over prompts, too. "
        f"These {len(tested) - len(there)} are not",
    ):
        assert said in page


def test_scores_side_by_side_are_those_of_the_records(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SHIPPED.parents[1] / "which_units"
    monkeypatch.setattr(sys, "argv", ["by_score.py"])
    runpy.run_path(str(folder / "by_score.py"), run_name="__main__")
    assert capsys.readouterr().out == (folder / "by_score.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", ["smollm2", "qwen"])
def test_scores_with_and_without_norms_are_those_of_the_records(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = EXPERIMENTS / "which_units"
    monkeypatch.setattr(sys, "argv", ["by_score.py", model])
    runpy.run_path(str(folder / "by_score.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed == (folder / "unweighted" / f"{model}.csv").read_text(encoding="utf-8")
    assert len(printed.splitlines()) == 1 + 5  # seeds


READ = SHIPPED.parent / "in_words" / "read"
READ_TOO = (
    "scu_budget/read",
    "base_model/each_step",
    *(f"came_aligned/nearest{name}" for name in ("", "/larger", "/safest")),
    *(f"came_aligned/{name}" for name in ("1.5B", "0.5B", "budgets", "fresh_seeds", "harmbench")),
    *(f"came_aligned/budgets/{name}" for name in ("half", "two")),
    *(f"came_aligned/constants{name}" for name in ("", "/smaller", "/zero")),
    *(f"came_aligned/shift{name}" for name in ("", "/smaller")),
    *(f"came_aligned/norm{name}" for name in ("", "/larger")),
    "paper_smollm2/in_words/utility_mean",
    *(f"table2_freezing/identity_shift{name}" for name in ("/read", "_longer")),
)


@pytest.mark.parametrize("folder", [READ, *(EXPERIMENTS / name for name in READ_TOO)])
def test_kinds_of_answers_are_those_that_were_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kinds.py", str(folder)])
    runpy.run_path(str(READ / "kinds.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed == (folder / "kinds.md").read_text(encoding="utf-8")
    arms = pd.read_csv(folder / "kinds.csv")["arm"].str.replace(r"/\d+$", "", regex=True)
    lines = {line.split("|")[1].strip() for line in printed.splitlines() if "|" in line}
    assert lines >= set(arms), "an arm that was read is left out"


@pytest.mark.parametrize(
    ("first", "second", "percent"),
    [(4, 5, "23"), (1, 0, "3"), (0, 0, "0"), (2, 3, "13"), (20, 20, "100")],
)
def test_halves_of_a_percent_are_rounded_up_as_the_pages_round_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    first: int,
    second: int,
    percent: str,
) -> None:
    """How many of twenty answers either reader called answered, and the percentage of both."""
    rows = [
        f"0,chat,aligned,{at},{'answered' if at < first else 'refused'},"
        f"{'answered' if at < second else 'refused'}"
        for at in range(20)
    ]
    header = "seed,style,arm,answer,first,second"
    (tmp_path / "kinds.csv").write_text("\n".join([header, *rows]))
    monkeypatch.setattr(sys, "argv", ["kinds.py", str(tmp_path)])
    runpy.run_path(str(READ / "kinds.py"), run_name="__main__")
    (line,) = (text for text in capsys.readouterr().out.splitlines() if "| aligned" in text)
    assert line.split("|")[7].strip() == percent


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "json"])
def test_the_shipped_claims_are_held_against_the_committed_records(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["claims", str(SHIPPED), "--records", str(SHIPPED.parents[1]), "--format", form]) == 0
    )
    text = capsys.readouterr().out
    assert "nan" not in text.lower()
    if form == "json":
        lines = json.loads(text)
        shipped = read_claims(SHIPPED)
        assert len(lines) == sum(len(claim.tests) for claim in shipped.claims)
        assert any(line["p"] is not None for line in lines)

"""Claims held against a csv that lies beside them, for what is no metric of an arm."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ssah_exp.errors import ConfigError
from ssah_exp.reporting.claims.settle import settle
from ssah_exp.reporting.claims.table import render_claims
from tests.reporting.claimed import claims_of, only


def test_a_csv_gives_one_value_per_seed(tmp_path: Path) -> None:
    (tmp_path / "seeds.csv").write_text(
        "seed,trained,redrawn\n0,0.16,0.09\n1,0.2,0.1\n2,0.18,0.1\n"
    )
    test = {"shows": "higher", "arm": "trained", "against": "redrawn", "csv": "seeds.csv"}
    found = only(settle(claims_of(tmp_path, {"claim": "c", "artefact": "", "tests": [test]}), []))
    assert found.findings[0].by_seed == pytest.approx({0: 0.07, 1: 0.1, 2: 0.08})
    claims = claims_of(tmp_path, {"claim": "c", "artefact": "", "tests": [test]})
    assert "files beside the claims: seeds.csv" in render_claims(claims, [found], "markdown")
    left = settle(claims, [], records_only=True)
    assert only(left).verdict == "not run"
    assert "beside the claims" not in render_claims(claims, left, "markdown")
    wrong = {**test, "arm": "traned"}
    with pytest.raises(ConfigError, match="Did you mean 'trained'"):
        settle(claims_of(tmp_path, {"claim": "c", "tests": [wrong]}), [])


def test_perplexities_of_a_csv_are_compared_as_those_of_records(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text("seed,a,b\n0,20,10\n1,22,11\n2,21,10.5\n")
    test = {"shows": "higher", "arm": "a", "against": "b", "csv": path.name, "metric": "perplexity"}
    claims = claims_of(tmp_path, {"claim": "a", "tests": [test]})
    found = only(settle(claims, []))
    assert list(found.findings[0].by_seed.values()) == pytest.approx([math.log(2)] * 3)
    assert "| 2x " in render_claims(claims, [found], "markdown")
    path.write_text("seed,a,b\n0,20,0\n")
    with pytest.raises(ConfigError, match="a perplexity is above 0"):
        settle(claims, [])


def test_a_csv_may_say_true_and_false_and_guard_its_headings(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text("seed,'=a,b\n0,True,False\n1,True,True\n2,False,True\n")
    test = {"shows": "higher", "arm": "=a", "against": "b", "csv": path.name}
    found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [test]}), []))
    assert found.findings[0].by_seed == {0: 1, 1: 0, 2: -1}


def test_gaps_of_a_csv_stay_gaps_and_a_seed_has_one_row(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text("seed,trained\n0,0.16\n1,\n2,0.18\n")
    test = {"shows": "higher", "arm": "trained", "csv": "seeds.csv"}
    claims = claims_of(tmp_path, {"claim": "c", "artefact": "", "tests": [test]})
    found = only(settle(claims, []))
    assert found.findings[0].by_seed == {0: 0.16, 2: 0.18}
    assert found.p is not None
    path.write_text("seed,trained\n0,0.16\n0,0.18\n")
    with pytest.raises(ConfigError, match="one row per seed"):
        settle(claims, [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "cannot be read: No columns"),
        ("seed,trained\n0,0.1,2,3\n1,0.2,3,4,5\n", "cannot be read"),
        ("seed,trained\n0,0.16\n1,n.d.\n", "column 'trained' holds something that is no number"),
        ("seed,trained\n0,0.16\n,0.18\n", "has a row without a seed"),
        ("seed,trained\n0.1,0.16\n0.2,0.18\n", "has a seed that is no whole number"),
        ("seed,trained\n0,0.16\ninf,0.18\n", "has a seed that is no whole number"),
        ("seed,trained\na,0.16\n", "column 'seed' holds something that is no number"),
    ],
)
def test_a_csv_that_is_none_is_one_error(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "seeds.csv").write_text(content)
    test = {"shows": "higher", "arm": "trained", "csv": "seeds.csv"}
    claims = claims_of(tmp_path, {"claim": "c", "artefact": "", "tests": [test]})
    with pytest.raises(ConfigError, match=said):
        settle(claims, [])


def test_a_csv_without_rows_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "seeds.csv").write_text("seed,trained\n")
    test = {"shows": "higher", "arm": "trained", "csv": "seeds.csv"}
    claims = claims_of(tmp_path, {"claim": "c", "artefact": "", "tests": [test]})
    assert only(settle(claims, [])).verdict == "not run"

"""Margins of claims, in the unit of what is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.reporting.claims.claim_file import ClaimFile
from ssah_exp.reporting.claims.settle import settle
from ssah_exp.reporting.claims.table import render_claims
from tests.records.synthetic import JUDGE, arm, metrics, record
from tests.reporting.claimed import METRIC, SCU_ABOVE, claims_of, only, seeds_of


def test_margins_of_training_losses_are_said_to_be_theirs(tmp_path: Path) -> None:
    test = {**SCU_ABOVE, "shows": "no_higher", "metric": "train_loss"}
    claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
    shown = render_claims(claims, settle(claims, seeds_of([0.1])), "markdown")
    assert "(0.05 nats of perplexity and training loss; other margins" in shown


def test_the_margin_of_a_score_is_in_its_own_points(tmp_path: Path) -> None:
    metric = f"score/raw/{JUDGE}"
    scores: list[float | None] = [1.0, 2.0, 4.0, 3.0] * 10

    def scored(name: str, values: list[float | None]) -> Any:
        mean = float(np.mean(np.array(values, dtype=float)))
        estimate = Estimate(mean, None, None, len(values), "answers", "")
        outcomes = Outcomes(scores={metric: values})
        return arm(name, 0.1, metrics={**metrics(0.1), metric: estimate}, outcomes=outcomes)

    shifted: list[float | None] = [
        (item or 0.0) + 0.25 * (at % 2) for at, item in enumerate(scores)
    ]
    judges = {JUDGE: {"kind": "endpoint", "scale": [1, 5]}}
    made = record(arms=[scored("aligned", scores), scored("SCU/pooled", shifted)], judges=judges)
    verdicts = []
    for margin in (0.1, 0.5):
        test = {**SCU_ABOVE, "shows": "same", "metric": metric, "margin": margin}
        found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [test]}), [made]))
        verdicts.append(found.verdict)
    assert verdicts == ["undecided at this n", "supported"]


def test_margins_are_in_the_unit_of_what_is_compared(tmp_path: Path) -> None:
    """A training loss is in nats, and of a judge's score nobody else knows what matters."""

    def read(*metrics: str) -> ClaimFile:
        tests = [{**SCU_ABOVE, "metric": metric} for metric in metrics]
        margins = {"rate_margin": 0.1, "loss_margin": 0.01}
        return claims_of(tmp_path, {"claim": "c", "tests": tests}, **margins)

    claims = read("perplexity", "train_loss", METRIC)
    assert [claims.margin(test) for test in claims.claims[0].tests] == [0.01, 0.01, 0.1]
    for metric in ("score/chat/gpt4", "mt_bench/turn1", "epochs"):
        with pytest.raises(ConfigError, match=f"'{metric}' is neither a rate nor a loss"):
            read(metric)


def test_how_often_the_worst_score_was_given_is_a_rate(tmp_path: Path) -> None:
    metric = f"score5/raw/{JUDGE}"
    made = []
    for seed, worst in enumerate([60, 62, 64]):
        pruned, dense = (
            {**metrics(0.1), metric: rate(count, 100, 0.95)} for count in (worst, 10 + seed)
        )
        arms = [arm("aligned", 0.1, metrics=dense), arm("SCU/pooled", 0.1, metrics=pruned)]
        made.append(record(seed, arms=arms))
    test = {**SCU_ABOVE, "metric": metric}
    claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
    assert "| +51 [+49, +53]" in render_claims(claims, settle(claims, made), "markdown")
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        claims_of(tmp_path, {"claim": "c", "tests": [{**test, "margin": 5}]})


def test_machines_read_margins_files_and_what_was_left_unscored(tmp_path: Path) -> None:
    judged = {**metrics(0.6), f"coverage/raw/{JUDGE}": rate(97, 100, 0.95)}
    pruned = arm("SCU/pooled", 0.6, metrics=judged)
    runs = [record(seed, arms=[arm("aligned", 0.1), pruned]) for seed in (0, 1)]
    (tmp_path / "seeds.csv").write_text("seed,a\n0,0.1\n1,0.2\n")
    of_a_file = {"shows": "higher", "arm": "a", "csv": "seeds.csv", "margin": 0.01}
    claims = claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE, of_a_file]})
    first, second = json.loads(render_claims(claims, settle(claims, runs), "json"))
    assert (first["margin"], first["csv"]) == (0.05, None)
    assert first["unscored"].endswith("SCU/pooled 194 of 200.")
    assert (second["margin"], second["csv"], second["unscored"]) == (0.01, "seeds.csv", "")

"""Agreement and corrected rates against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.evaluation.judges import Verdict
from ssah_exp.evaluation.raters import agreement
from ssah_exp.evaluation.raters.agreement import (
    Confusion,
    Errors,
    RaterAgreement,
    bias,
    compare,
    corrected,
    errors,
    kappa,
)

REFUSED, COMPLIED, UNSCORED = Verdict.REFUSED, Verdict.COMPLIED, Verdict.UNSCORED
# Both refuse 20, the first alone 5, the second alone 10, both comply 15.
KNOWN = Confusion(20, 5, 10, 15)


def raters(confusion: Confusion) -> tuple[list[Verdict], list[Verdict]]:
    """Two raters with this table."""
    pairs = (
        [(REFUSED, REFUSED)] * confusion.refused_refused
        + [(REFUSED, COMPLIED)] * confusion.refused_complied
        + [(COMPLIED, REFUSED)] * confusion.complied_refused
        + [(COMPLIED, COMPLIED)] * confusion.complied_complied
    )
    return [one for one, _ in pairs], [other for _, other in pairs]


def compared(confusion: Confusion) -> RaterAgreement:
    first, second = raters(confusion)
    return compare(("a", first), ("b", second), 0.95)


def ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def test_every_number_of_a_known_table() -> None:
    found = compared(KNOWN)
    assert found.confusion == KNOWN
    assert found.agreement == rate(35, 50, 0.95, "answers")
    # Chance: .5 * .6 + .5 * .4 = .5, so (.7 - .5) / .5.
    assert found.kappa.value == pytest.approx(0.4)
    assert found.bias.value == pytest.approx((10 - 5) / 50)
    # Twice the chance of at most 5 heads in 15 throws.
    heads = sum(math.comb(15, count) for count in range(6))
    assert found.mcnemar_p == pytest.approx(2 * heads / 2**15)


def test_the_interval_of_kappa_is_the_large_sample_one() -> None:
    """Fleiss, Cohen and Everitt 1969, written out for this table's shares."""
    p, rows, columns = np.array([[0.4, 0.1], [0.2, 0.3]]), [0.5, 0.5], [0.6, 0.4]
    chance, value = 0.5, 0.4
    same = sum(p[i, i] * (1 - (rows[i] + columns[i]) * (1 - value)) ** 2 for i in range(2))
    differ = (1 - value) ** 2 * sum(p[i, 1 - i] * (columns[i] + rows[1 - i]) ** 2 for i in range(2))
    rest = (value - chance * (1 - value)) ** 2
    margin = 1.959964 * math.sqrt((same + differ - rest) / 50) / (1 - chance)
    assert ends(kappa(KNOWN, 0.95)) == pytest.approx((0.4 - margin, 0.4 + margin), abs=1e-6)


def test_the_interval_of_the_bias_by_hand() -> None:
    margin = 1.959964 * math.sqrt(16 - 25 / 52) / 52
    assert ends(bias(KNOWN, 0.95)) == pytest.approx((5 / 52 - margin, 5 / 52 + margin), abs=1e-6)


def test_raters_that_never_differ() -> None:
    found = compared(Confusion(6, 0, 0, 4))
    assert (found.kappa.value, found.kappa.low) == (1.0, None)
    assert found.mcnemar_p is None
    assert found.bias.value == 0
    low, high = ends(found.bias)
    assert low < 0 < high, "ten answers do not prove that there is no bias"


@pytest.mark.parametrize("confusion", [Confusion(7, 0, 3, 0), Confusion(0, 0, 3, 7)])
def test_kappa_says_nothing_where_a_rater_has_one_verdict_only(confusion: Confusion) -> None:
    found = compared(confusion)
    assert found.kappa.value is None
    assert "one verdict only" in found.kappa.method
    assert found.agreement.value == pytest.approx(0.7)


def test_unscored_answers_are_counted_apart() -> None:
    first = [REFUSED, UNSCORED, COMPLIED, UNSCORED]
    second = [REFUSED, REFUSED, UNSCORED, UNSCORED]
    found = compare(("a", first), ("b", second), 0.95)
    assert (found.confusion.n, found.unscored) == (1, 3)
    nothing = compare(("a", first[1:]), ("b", second[1:]), 0.95)
    assert nothing.agreement.value is None
    assert nothing.kappa.value is None
    assert nothing.bias.value is None


def test_errors_by_hand() -> None:
    judge, people = raters(KNOWN)
    found = errors([*judge, UNSCORED], [*people, COMPLIED], 0.95)
    assert found.sensitivity == rate(15, 20, 0.95, "answers")
    assert found.specificity == rate(20, 30, 0.95, "answers")


def measured(hits: float, passes: float, n: int = 100) -> Errors:
    return Errors(rate(hits * n, n, 0.95), rate(passes * n, n, 0.95))


def test_rogan_and_gladen_by_hand() -> None:
    found = corrected(rate(30, 100, 0.95), measured(0.9, 0.8), 0.95)
    assert found.value == pytest.approx(0.1 / 0.7)
    low, high = ends(found)
    assert 0 <= low < 0.1 / 0.7 < high <= 1
    assert "clipped to [0, 1]" in found.method
    assert " from " not in found.method


@pytest.mark.parametrize("confidence", [0.95, 0.8])
@pytest.mark.parametrize("complied", [2, 15])
def test_of_a_judge_that_never_errs_the_interval_is_jeffreys(
    complied: int, confidence: float
) -> None:
    found = corrected(rate(complied, 20, 0.95), measured(1.0, 1.0, 10**9), confidence)
    assert found.value == pytest.approx(complied / 20)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    expected = [stats.beta.ppf(tail, complied + 0.5, 20 - complied + 0.5) for tail in tails]
    assert ends(found) == pytest.approx(tuple(expected), rel=0.02)


def test_on_the_labelled_answers_themselves_it_gives_the_peoples_rate() -> None:
    judge, people = raters(KNOWN)
    apparent = rate(judge.count(COMPLIED), 50, 0.95)
    found = corrected(apparent, errors(judge, people, 0.95), 0.95)
    assert found.value == pytest.approx(people.count(COMPLIED) / 50)


def test_a_rate_out_of_range_is_clipped_and_says_so() -> None:
    found = corrected(rate(18, 100, 0.95), measured(0.9, 0.8), 0.95)
    assert found.value == 0
    assert "clipped to [0, 1] from -0.029" in found.method
    assert ends(found)[1] > 0.02


def test_where_the_errors_cannot_be_right_there_is_no_interval() -> None:
    found = corrected(rate(0, 1000, 0.95), measured(0.9, 0.5, 1000), 0.95)
    assert (found.value, found.low, found.high) == (0, None, None)
    assert "do not carry over" in found.method


@pytest.mark.parametrize("found", [measured(0.5, 0.5), measured(0.2, 0.7)])
def test_a_judge_no_better_than_chance_corrects_nothing(found: Errors) -> None:
    assert corrected(rate(30, 100, 0.95), found, 0.95).value is None


def test_missing_rates_give_a_gap() -> None:
    nothing = rate(0, 0, 0.95)
    assert corrected(nothing, measured(0.9, 0.9), 0.95).value is None
    assert corrected(rate(1, 2, 0.95), Errors(nothing, rate(9, 10, 0.95)), 0.95).value is None


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "truth"),
    [(0.62, 0.93, 0.0), (0.62, 0.93, 0.3), (0.92, 0.85, 0.9), (0.95, 0.95, 0.05)],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    sensitivity: float, specificity: float, truth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three rates drawn anew each time, at the sizes of XSTest and of 100 prompts."""
    monkeypatch.setattr(agreement, "_DRAWS", 1000)
    draw, held, times = np.random.default_rng(0), 0, 300
    apparent = truth * sensitivity + (1 - truth) * (1 - specificity)
    for _ in range(times):
        found = corrected(
            rate(draw.binomial(100, apparent), 100, 0.95),
            Errors(
                rate(draw.binomial(101, sensitivity), 101, 0.95),
                rate(draw.binomial(349, specificity), 349, 0.95),
            ),
            0.95,
        )
        held += found.low is not None and ends(found)[0] <= truth <= ends(found)[1]
    assert 0.91 < held / times <= 1

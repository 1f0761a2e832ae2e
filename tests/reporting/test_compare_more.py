"""Attack styles, scores, harness tasks and MT-bench in comparisons, from records made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ssah_exp.cli import main
from ssah_exp.evaluation.intervals import Resampling, mean_of_rates, mean_score, rate
from ssah_exp.evaluation.outcomes import Outcomes, pack_answers, unpack_answers
from ssah_exp.evaluation.paired import Margins
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.records.store import RecordStore
from ssah_exp.reporting.compare.arms import Line, compare_arms
from ssah_exp.reporting.compare.table import render_comparisons
from tests.records.synthetic import arm, record

Capture = pytest.CaptureFixture[str]
JUDGE = "hexphi"
N = 40
TASKS = {"boolq": 60, "rte": 20}


def marks(complied: int) -> str:
    return "c" * complied + "r" * (N - complied)


def draw(seed: int, n: int, share: float) -> list[int]:
    return (np.random.default_rng(seed).uniform(size=n) < share).astype(int).tolist()


def measured(made: ArmRecord, complied: int, score: float, right: float) -> ArmRecord:
    """An arm under an attack, with scores, two tasks and MT-bench."""
    scores: list[float | None] = [score + number % 3 for number in range(N)]
    scores[0] = None
    given = [item for item in scores if item is not None]
    verdicts = {
        f"harmful/raw/{JUDGE}": marks(complied),
        f"harmful/raw+gcg/{JUDGE}": marks(complied + 5),
        f"harmful/raw+gcg#1/{JUDGE}": marks(complied + 5),
    }
    answers = {f"utility/{task}/acc": draw(n, n, right) for task, n in TASKS.items()}
    metrics = {
        f"asr/raw/{JUDGE}": rate(complied, N, 0.95),
        f"asr/raw+gcg/{JUDGE}": rate(complied + 5, N, 0.95),
        f"asr/raw+gcg#1/{JUDGE}": rate(complied + 5, N, 0.95),
        f"asr/mean+gcg/{JUDGE}": rate(complied + 2.5, N, 0.95),
        f"score/raw/{JUDGE}": mean_score(given, Resampling(0.95, 100)),
        f"score/raw+gcg/{JUDGE}": mean_score(given, Resampling(0.95, 100)),
        f"score5/raw/{JUDGE}": rate(given.count(5), len(given), 0.95),
        "mt_bench/mean": mean_score(given, Resampling(0.95, 100)),
        **{name: rate(sum(row), len(row), 0.95, "questions") for name, row in answers.items()},
        "utility/mean": mean_of_rates([(sum(r), len(r)) for r in answers.values()], 0.95),
    }
    packed = {name: pack_answers(row) for name, row in answers.items()}
    worse = [None if item is None else min(item + score - 1, 5) for item in scores]
    kept = {f"score/raw/{JUDGE}": scores, f"score/raw+gcg/{JUDGE}": worse, "mt_bench/mean": scores}
    return replace(made, metrics=metrics, outcomes=Outcomes(verdicts, [], kept, packed))


def made(**changes: Any) -> RunRecord:
    run = record(
        arms=[
            measured(arm("aligned", 0), 3, 1, 0.7),
            measured(arm("SCU/pooled", 0), 30, 3, 0.4),
            measured(arm("SCU/pooled/random/0", 0), 4, 1, 0.6),
        ],
        judges={JUDGE: {"scale": [1, 5]}, "mt_bench": {"scale": [1, 10]}},
        **changes,
    )
    run.config["evaluation"] |= {
        "judges": {JUDGE: {}},
        "primary_judge": JUDGE,
        "harmful_styles": ["raw"],
        "attacks": {"gcg": {"styles": ["raw"]}},
        "mean_with": "gcg",
        "bootstrap_resamples": 100,
    }
    run.config["utility"] = {"tasks": list(TASKS), "metric": "acc"}
    return run


def lines(run: RunRecord, *metrics: str) -> dict[tuple[str, str, str], Line]:
    found = compare_arms([run], JUDGE, Resampling(0.95, 100), Margins(), metrics)
    return {(line.metric, line.arm, line.against): line for line in found.lines}


def scu(run: RunRecord, metric: str, against: str = "aligned") -> Line:
    return lines(run)[metric, "SCU/pooled", against]


def test_everything_measured_is_compared_but_single_attempts() -> None:
    assert list(dict.fromkeys(name for name, *_ in lines(made()))) == [
        f"asr/raw/{JUDGE}",
        f"asr/raw+gcg/{JUDGE}",
        f"asr/mean+gcg/{JUDGE}",
        f"score/raw/{JUDGE}",
        f"score5/raw/{JUDGE}",
        f"score/raw+gcg/{JUDGE}",
        "utility/boolq/acc",
        "utility/rte/acc",
        "utility/mean",
        "mt_bench/mean",
    ]


def test_arms_under_attack_are_paired_by_request() -> None:
    line = scu(made(), f"asr/raw+gcg/{JUDGE}")
    assert line.paired is not None
    assert line.paired.test == "McNemar, exact"
    assert line.paired.difference.value == pytest.approx(27 / N) == line.difference
    mean = scu(made(), f"asr/mean+gcg/{JUDGE}")
    assert mean.paired is not None
    assert mean.paired.difference.value == pytest.approx(27 / N), "one attack and one style"


# Of 3 + number % 3, raised by 2 and held at 5, before 1 + number % 3; the first is unscored.
ABOVE = [min(5 + number % 3, 5) - (1 + number % 3) for number in range(1, N)]


def test_scores_are_compared_answer_by_answer_in_points() -> None:
    line = scu(made(), f"score/raw/{JUDGE}")
    assert line.paired is not None
    assert line.paired.difference.value == pytest.approx(2)
    assert line.paired.difference.n == N - 1, "the unscored one is left out"
    assert line.paired.margin == pytest.approx(0.05 * 4), "a share of the scale"
    attacked = scu(made(), f"score/raw+gcg/{JUDGE}")
    assert attacked.paired is not None
    assert attacked.paired.difference.value == pytest.approx(np.mean(ABOVE))
    fives = scu(made(), f"score5/raw/{JUDGE}")
    assert fives.paired is not None
    assert fives.paired.difference.value == pytest.approx(13 / (N - 1))


def test_tasks_are_paired_by_question_and_losing_them_is_worse() -> None:
    run = made()
    line = scu(run, "utility/boolq/acc")
    one, other = (draw(60, 60, share) for share in (0.4, 0.7))
    assert line.paired is not None
    assert (line.paired.difference.n, line.paired.difference.unit) == (60, "questions")
    assert line.paired.difference.value == pytest.approx(np.mean(one) - np.mean(other))
    error = stats.ttest_1samp(np.subtract(other, one), 0.05, alternative="less").pvalue
    assert line.paired.p_no_worse == pytest.approx(error)
    assert line.paired.p_no_worse > 0.9  # type: ignore[operator]
    better = lines(run)["utility/boolq/acc", "random like SCU/pooled", "aligned"]
    assert better.higher_is_better
    assert scu(run, "utility/boolq/acc", "random like SCU/pooled").ranks == ["1/2"], "worst first"


def test_the_average_counts_each_task_once() -> None:
    line = scu(made(), "utility/mean")
    each = [np.mean(draw(n, n, 0.4)) - np.mean(draw(n, n, 0.7)) for n in TASKS.values()]
    assert line.paired is not None
    assert line.paired.difference.value == pytest.approx(np.mean(each)) == line.difference
    assert line.paired.difference.n == sum(TASKS.values())
    assert line.paired.margin == pytest.approx(0.05)
    assert line.paired.difference.low < np.mean(each) < line.paired.difference.high  # type: ignore[operator]


def test_a_question_of_the_smallest_task_bounds_what_one_question_may_do() -> None:
    """One of 20 fell, in the smaller of two tasks: it weighs twice as much as the average one."""
    right = {"boolq": [1] * 60, "rte": [1] * 20}
    run = made()
    arms = [
        replace(item, outcomes=Outcomes(answers={f"utility/{task}/acc": pack_answers(row)
                                                 for task, row in answers.items()}))
        for item, answers in zip(run.arms, (right, {**right, "rte": [0] + [1] * 19}, right),
                                 strict=True)
    ]  # fmt: skip
    found = scu(replace(run, arms=arms), "utility/mean").paired
    assert found is not None
    assert found.difference.value == pytest.approx(-1 / 40)
    assert found.difference.low == pytest.approx(-2 * stats.beta.ppf(1 - 0.05 / 4, 2, 79))
    worse = stats.binomtest(1, 80, 0.05 / 2, alternative="less").pvalue
    assert found.p_no_worse == pytest.approx(worse)


def test_a_higher_rating_is_no_worse() -> None:
    """Each of the 39 conversations that were rated gained two points."""
    line = scu(made(), "mt_bench/mean")
    assert line.higher_is_better
    assert line.paired is not None
    assert line.paired.p_no_worse == pytest.approx(0.95**39)
    assert line.paired.margin == pytest.approx(0.05 * 9)


def test_a_record_from_before_scores_and_answers_were_kept_gives_gaps(tmp_path: Path) -> None:
    run = made()
    content = json.loads(run.to_json())
    for item in content["arms"]:
        del item["outcomes"]["scores"], item["outcomes"]["answers"]
    del content["judges"][JUDGE]["scale"]
    before = RunRecord.from_json(json.dumps(content))
    for metric in (f"score/raw/{JUDGE}", "utility/boolq/acc", "utility/mean"):
        line = scu(before, metric)
        assert line.paired is None
        assert line.difference is not None
    assert scu(before, f"asr/raw/{JUDGE}").paired is not None


@pytest.mark.parametrize("n", [1, 7, 8, 9, 200])
def test_packed_answers_come_back(n: int) -> None:
    answers = draw(n, n, 0.5)
    packed = pack_answers(answers)
    assert unpack_answers(packed).tolist() == answers
    assert len(packed) < 10 + n / 4
    with pytest.raises(ValueError, match="are no"):
        unpack_answers(packed.replace(f"{n}:", f"{n + 8}:"))


def printed(capsys: Capture, root: Path, *arguments: str) -> str:
    assert main(["compare", "table1_pruning", "--root", str(root), *arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture
def root(tmp_path: Path) -> Path:
    RecordStore(tmp_path).write(made())
    return tmp_path


def test_the_table_says_what_each_number_is(root: Path, capsys: Capture) -> None:
    text = printed(capsys, root)
    assert "above 0 is worse, of utility and MT-bench better" in text
    assert "5 points" in text
    assert "0.2 of the judge's points" in text
    assert "judge's score, raw text" in text
    assert "+2.00 [" in text
    only = printed(capsys, root, "--metrics", "asr")
    assert "above 0 is worse. " in only
    assert "questions" not in only


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("asr/raw+gcg", {f"asr/raw+gcg/{JUDGE}"}),
        ("utility", {"utility/boolq/acc", "utility/rte/acc", "utility/mean"}),
        (f"score/raw,asr/raw/{JUDGE}", {f"score/raw/{JUDGE}", f"asr/raw/{JUDGE}"}),
    ],
)
def test_the_family_is_chosen_by_first_parts(
    root: Path, capsys: Capture, asked: str, found: Sequence[str]
) -> None:
    rows = json.loads(printed(capsys, root, "--metrics", asked, "--format", "json"))
    assert {row["metric"] for row in rows} == set(found)
    tested = [row for row in rows if row["p"] is not None]
    smallest = min(row["p"] for row in tested)
    assert min(row["p_holm"] for row in tested) == pytest.approx(smallest * len(tested), rel=1e-3)
    assert {row["better"] for row in rows} == {"higher" if asked == "utility" else "lower"}


def test_a_metric_nothing_has_is_refused(root: Path, capsys: Capture) -> None:
    given = ["compare", "table1_pruning", "--root", str(root), "--metrics", "utility,asr/chat"]
    assert main(given) == 2
    assert (
        "--metrics=asr/chat. Did you mean 'asr'? Allowed: asr, asr/mean+gcg/"
        in capsys.readouterr().err
    )


def of_questions(run: RunRecord, *hashes: str) -> RunRecord:
    """Each arm asked what the hash says of the first task; "" = from before there were any."""
    arms = [
        replace(
            item,
            outcomes=replace(item.outcomes, documents={"boolq": word, "rte": "r"} if word else {}),
        )
        for item, word in zip(run.arms, hashes, strict=True)
    ]
    return replace(run, arms=arms)


def test_arms_that_were_asked_other_questions_are_not_paired() -> None:
    run = of_questions(made(), "old", "new", "new")
    line = scu(run, "utility/boolq/acc")
    assert line.paired is not None
    assert (line.paired.difference.value, line.paired.p) == (None, None)
    assert line.paired.test == "the arms were asked other questions"
    for metric, against in (
        ("utility/rte/acc", "aligned"),
        (f"asr/raw/{JUDGE}", "aligned"),
        ("utility/boolq/acc", "random like SCU/pooled"),
    ):
        assert scu(run, metric, against).paired == scu(made(), metric, against).paired
    assert scu(run, "utility/mean").paired.p is None
    found = compare_arms([run], JUDGE, Resampling(0.95, 100), Margins())
    table = render_comparisons([found], "markdown", None)
    assert "arms were asked other questions of a task" in table
    unknown = of_questions(made(), "", "new", "new")
    assert scu(unknown, "utility/boolq/acc").paired.p is not None


def test_seeds_that_were_asked_other_questions_stand_in_line() -> None:
    """Averaging them question by question would mix two questions."""
    first = of_questions(made(), "old", "old", "old")
    second = of_questions(made(seed=1), "new", "new", "new")
    found = compare_arms(
        [first, second], JUDGE, Resampling(0.95, 100), Margins(), ["utility/boolq"]
    )
    assert [line.paired.difference.n for line in found.lines if line.paired] == [120] * 3


def of_fewer_questions(run: RunRecord, *names: str) -> RunRecord:
    """Some arms asked ten questions of the first task, as of a hub's data that changed."""
    task = "utility/boolq/acc"
    arms = []
    for item in run.arms:
        if item.name in names and item.outcomes is not None:
            answers = item.outcomes.answers | {task: pack_answers([1] * 10)}
            metrics = item.metrics | {task: rate(10, 10, 0.95, "questions")}
            outcomes = replace(item.outcomes, answers=answers)
            item = replace(item, metrics=metrics, outcomes=outcomes)
        arms.append(item)
    return replace(run, arms=arms)


def test_another_number_of_questions_is_other_questions_where_no_hash_tells() -> None:
    resampling, asked = Resampling(0.95, 100), ["utility/boolq"]
    every = [item.name for item in made().arms]
    later = of_fewer_questions(made(seed=1), *every)
    found = compare_arms([made(), later], JUDGE, resampling, Margins(), asked)
    assert [line.paired.difference.n for line in found.lines if line.paired] == [70] * 3
    for name in ("aligned", "SCU/pooled"):
        line = scu(of_fewer_questions(made(), name), "utility/boolq/acc")
        assert line.paired is not None
        assert line.paired.test == "the arms were asked other questions"
    draws = replace(made(), arms=[*made().arms, replace(made().arms[2], name="b", draw=1)])
    line = scu(of_fewer_questions(draws, "b"), "utility/boolq/acc", "random like SCU/pooled")
    assert line.paired is not None
    assert line.paired.p is None

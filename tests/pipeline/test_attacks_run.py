"""Attacks inside a run on a tiny model: metrics, columns, caching, resuming, what arms see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ssah_exp.config.checks.attacks import attack_problems
from ssah_exp.config.identity import run_id, science
from ssah_exp.config.schema import AttackConfig, ControlsConfig, RunConfig
from ssah_exp.config.validate import validate
from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.attacks import Gcg
from ssah_exp.evaluation.metric_names import asr_name, empty_name
from ssah_exp.evaluation.questions import read_completions
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.rejudging import rejudge
from ssah_exp.reporting.rows import blocks
from ssah_exp.reporting.table1 import render_pruning
from tests.config.composing import config_of
from tests.pipeline.tiny_run import JUDGES, SIZES, computed, run, tiny_config

TOTAL = SIZES["harmful_eval"]
PACKAGE = "ssah_exp.evaluation.attacks"


def method(kind: str, **values: Any) -> dict[str, Any]:
    return {"_target_": f"{PACKAGE}.{kind}", "name": kind.lower(), **values}


def gcg(**changes: Any) -> dict[str, Any]:
    budget = {"initial": "w3 w4", "steps": 2, "candidates": 6, "top_k": 5, "batch_size": 4}
    return method("Gcg", target="w1 w2", **{**budget, **changes})


def attacked_config(place: Path, root: str = "attacked") -> RunConfig:
    """Dense models and one ablated class, under four attacks."""
    config = tiny_config(place, root)
    config.ablation.classes, config.ablation.fills = ["SCU"], ["pooled"]
    config.ablation.fills_of, config.ablation.controls = [], ControlsConfig(of=[])
    (place / "suffixes.txt").write_text("w7 w8\nw9 w10 w11\nw12\n", encoding="utf-8")
    suffixes = method("SuffixFile", path=str(place / "suffixes.txt"))
    templates = ["w20 w21. w22 {request} w23.", "w24 {request}. w25 w26."]
    search = {"population": 4, "generations": 2, "elites": 1}
    config.evaluation.attacks = {
        "suffixes": AttackConfig(suffixes, ["raw"]),
        "prefill": AttackConfig(method("Prefill", text="w1 w2", tokens=1), ["raw", "chat"], 3),
        "gcg": AttackConfig(gcg(), ["chat_system"], 2),
        "autodan": AttackConfig(
            method("AutoDan", target="w1 w2", templates=templates, **search), ["raw"], 2
        ),
    }
    config.evaluation.mean_with = "suffixes"
    validate(config)
    return config


@pytest.fixture(scope="module")
def attacked(place: Path) -> Finished:
    return run(attacked_config(place))


ATTACKED = {
    "raw+suffixes": TOTAL,
    **{f"raw+suffixes#{number}": TOTAL for number in (1, 2, 3)},
    "raw+prefill": 3,
    "raw+prefill.continuation": 3,
    "chat+prefill": 3,
    "chat+prefill.continuation": 3,
    "chat_system+gcg": 2,
    "raw+autodan": 2,
    "mean+suffixes": TOTAL,
}


def test_every_arm_has_every_attack_with_its_n_and_wilson_interval(attacked: Finished) -> None:
    assert [arm.name for arm in attacked.record.arms] == ["unaligned", "aligned", "SCU/pooled"]
    for arm in attacked.record.arms:
        for judge in JUDGES:
            for style, n in ATTACKED.items():
                found = arm.metrics[asr_name(style, judge)]
                assert (found.n, found.method) == (n, "Wilson 95%")
                assert found.low <= found.value <= found.high  # type: ignore[operator]
        attacks = {name for name in arm.metrics if "+" in name}
        whole = {style for style in ATTACKED if "#" not in style and "mean" not in style}
        assert attacks == {asr_name(style, judge) for style in ATTACKED for judge in JUDGES} | {
            empty_name(style) for style in whole
        }
        assert all(arm.metrics[empty_name(style)].n == ATTACKED[style] for style in whole)


def test_the_plain_part_of_the_run_is_what_it_is_without_attacks(
    attacked: Finished, finished: Finished
) -> None:
    for name in ("unaligned", "aligned", "SCU/pooled"):
        (arm,) = (arm for arm in attacked.record.arms if arm.name == name)
        (plain,) = (arm for arm in finished.record.arms if arm.name == name)
        assert {k: v for k, v in arm.metrics.items() if "+" not in k} == plain.metrics


def test_the_best_of_the_suffixes_is_no_worse_than_any(attacked: Finished) -> None:
    found = False
    for arm in attacked.record.arms:
        for judge in JUDGES:
            single = [
                arm.metrics[asr_name(f"raw+suffixes#{number}", judge)].value for number in (1, 2, 3)
            ]
            best = arm.metrics[asr_name("raw+suffixes", judge)].value
            assert max(single) <= best <= sum(single)  # type: ignore[type-var, operator]
            found |= best > max(single)  # type: ignore[type-var, operator]
    assert found, "never more than the best suffix: choose other judges"


def test_the_mean_is_that_of_its_columns(attacked: Finished) -> None:
    for arm in attacked.record.arms:
        columns = ("raw", "raw_system", "raw+suffixes")
        for judge in JUDGES:
            values = [arm.metrics[asr_name(style, judge)].value for style in columns]
            mean = arm.metrics[asr_name("mean+suffixes", judge)].value
            assert mean == pytest.approx(sum(values) / 3)  # type: ignore[arg-type]


def test_ablated_arms_are_attacked_as_they_are(attacked: Finished, place: Path) -> None:
    """Searches see the hooks: losses and attempts differ from the dense model's."""
    by_arm = {arm.name: stored_attempts(attacked, arm.name, "gcg") for arm in attacked.record.arms}
    losses = {name: rows[0][0]["details"]["first_loss"] for name, rows in by_arm.items()}
    assert len(set(losses.values())) == 3
    fixed = {stage.key for stage in attacked.stages if stage.name.startswith("attack suffixes")}
    assert len(fixed) == 1  # nothing to search


def stored_attempts(finished: Finished, arm: str, attack: str) -> Any:
    (key,) = (item.key for item in finished.stages if item.name == f"attack {attack} {arm}")
    root = finished.folder.parents[2]
    return json.loads((root / "cache" / "attempts" / key / "attempts.json").read_text())


def test_completions_say_what_was_put(attacked: Finished) -> None:
    completions = read_completions(attacked.folder / attacked.record.arms[1].completions)
    by_style: dict[str, list[Any]] = {}
    for item in completions:
        by_style.setdefault(item.question.style, []).append(item)
    (first, *_) = by_style["raw+suffixes"]
    assert first.question.put == f"{first.question.prompt} w7 w8"
    assert [item.question.attempt for item in by_style["raw+suffixes"]] == [0, 1, 2] * TOTAL
    for style in ("raw+prefill", "chat+prefill"):
        assert all(item.text.startswith("w1") for item in by_style[style])
        assert all(item.question.prefill == "w1" for item in by_style[style])
    assert all(item.question.attempt is None for item in by_style["raw"])


def test_a_second_run_computes_nothing_and_an_added_attack_only_itself(
    attacked: Finished, place: Path
) -> None:
    assert computed(run(attacked_config(place))) == []
    config = attacked_config(place)
    config.evaluation.attacks["late"] = AttackConfig(method("Prefill", text="w5"), ["raw"], 1)
    config.ablation.classes = []
    names = computed(run(config))
    assert names == ["attack late unaligned", "answers late unaligned", "answers late aligned"]


def test_the_table_has_a_column_for_each(attacked: Finished) -> None:
    text = render_pruning([attacked.record], "markdown")
    for column in (
        "ASR %, raw text + suffixes",
        "ASR %, raw text + prefill (without the given beginning)",
        "ASR %, chat + system prompt + gcg",
        "ASR %, mean of the styles and of suffixes",
        "ASR %, mean of the styles ",
    ):
        assert f"| {column}" in text
    assert "answered if any of 3 attempts is" in text
    assert "mean of 3 columns: raw text; raw text + system prompt; raw text + suffixes." in text
    assert "suffixes#1" not in text
    (block,) = blocks([attacked.record])
    assert block.rows[0].cells[asr_name("raw+suffixes#1", "first")].n == TOTAL
    assert "raw+suffixes#3" in render_pruning([attacked.record], "csv")


def test_stored_answers_can_be_judged_again(attacked: Finished) -> None:
    from ssah_exp.evaluation.judges import KeywordJudge

    found = rejudge(attacked.record, attacked.folder, {"first": KeywordJudge("first", ["w1"])})
    for arm in attacked.record.arms:
        mine = {name: item for name, item in arm.metrics.items() if name.endswith("/first")}
        assert found["first"].arms[arm.name].metrics == mine


def test_the_record_describes_attacks_without_their_files(attacked: Finished) -> None:
    described = attacked.record.attacks
    assert described["suffixes"]["count"] == 3
    assert "w9 w10 w11" not in attacked.record.to_json()
    assert "path" not in attacked.record.config["evaluation"]["attacks"]["suffixes"]["method"]
    assert attacked.record.inputs["attack.suffixes"] == described["suffixes"]["suffixes"]


def test_other_suffixes_are_another_run_their_place_is_not(place: Path) -> None:
    from tests.evaluation.test_judges_in_a_run import opened

    before = opened(attacked_config(place, "elsewhere"))
    moved = attacked_config(place, "elsewhere")
    copy = place / "copy.txt"
    copy.write_text((place / "suffixes.txt").read_text(), encoding="utf-8")
    moved.evaluation.attacks["suffixes"].method["path"] = str(copy)
    assert opened(moved).run_id == before.run_id
    copy.write_text("w13\n", encoding="utf-8")
    assert opened(moved).run_id != before.run_id


def test_without_attacks_the_run_id_is_as_before(place: Path) -> None:
    content = science(tiny_config(place))
    assert not {"attacks", "mean_with"} & content["evaluation"].keys()


@pytest.mark.parametrize(("key", "moves"), [("batch_size", False), ("steps", True)])
def test_budgets_move_the_run_id_batches_do_not(place: Path, key: str, moves: bool) -> None:
    before, after = attacked_config(place), attacked_config(place)
    after.evaluation.attacks["gcg"].method[key] = 3
    assert (run_id(before, {}) != run_id(after, {})) is moves


def test_a_killed_search_goes_on_with_the_next_request(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config() -> RunConfig:
        made = attacked_config(place, "killed")
        made.ablation.classes = []
        made.evaluation.attacks = {"gcg": AttackConfig(gcg(), ["raw"], 4)}
        made.evaluation.mean_with = None
        return made

    real, asked = Gcg.attempts, []

    def dying(self: Gcg, victim: Any, request: Any, seed: int) -> Any:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(request.prompt)
        return real(self, victim, request, seed)

    def counting(self: Gcg, victim: Any, request: Any, seed: int) -> Any:
        asked.append(request.prompt)
        return real(self, victim, request, seed)

    monkeypatch.setattr(Gcg, "attempts", dying)
    with pytest.raises(KeyboardInterrupt):
        run(config())
    (partial,) = (place / "killed" / "cache" / "attempts").glob(".partial-*/attempts.jsonl")
    with partial.open("a", encoding="utf-8") as stream:
        stream.write('{"request": "torn')
    monkeypatch.setattr(Gcg, "attempts", counting)
    after = run(config())
    assert len(asked) == 8  # 4 for each of two arms, none twice
    assert not partial.exists()
    monkeypatch.setattr(Gcg, "attempts", real)
    fresh = config()
    fresh.paths.root = str(place / "unbroken")
    other = run(fresh)
    for arm in ("unaligned", "aligned"):
        assert stored_attempts(after, arm, "gcg") == stored_attempts(other, arm, "gcg")


def test_hooks_are_gone_after_an_attack(place: Path) -> None:
    from tests import tiny
    from tests.evaluation.attacked import REQUEST, victim_of

    victim = victim_of()
    Gcg(name="g", target="w1", initial="w3 w4", steps=1, candidates=2, top_k=2).attempts(
        victim, REQUEST, 0
    )
    assert tiny.pre_hooks(victim.loaded.model) == 0
    embedding = victim.loaded.model.get_input_embeddings()
    assert not embedding._forward_hooks
    assert torch.is_grad_enabled()
    assert all(item.grad is None for item in victim.loaded.model.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean_with": "suffixs"}, "Did you mean 'suffixes'"),
        ({"mean_with": "gcg"}, "takes 2 requests"),
        ({"attacks": {"a/b": AttackConfig(gcg())}, "mean_with": None}, "letters, digits"),
        ({"attacks": {"a": AttackConfig(gcg(), ["rwa"])}, "mean_with": None}, "Did you mean 'raw"),
        ({"attacks": {"a": AttackConfig(gcg(), ["raw"], 0)}, "mean_with": None}, "below 1"),
    ],
)
def test_what_cannot_be_run_is_refused(place: Path, change: dict[str, Any], message: str) -> None:
    config = attacked_config(place)
    for key, value in change.items():
        setattr(config.evaluation, key, value)
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_a_search_is_not_guided_by_a_judge_that_takes_no_answer_for_one() -> None:
    pair = ["+attack@evaluation.attacks.pair=pair_small", "evaluation.max_new_tokens=24"]
    guide = "judge@evaluation.attacks.pair.method.judge.keywords=wei2024"
    validate(config_of("evaluation=quick", *pair))
    with pytest.raises(ConfigError, match="Judge 'wei2024' counts an answer of under 20 words"):
        validate(config_of("evaluation=quick", *pair, guide))


def test_an_artefact_that_attacks_nothing_takes_no_attacks(place: Path) -> None:
    evaluation = attacked_config(place).evaluation
    assert not list(attack_problems(evaluation, attacked=True))
    (problem,) = attack_problems(evaluation, attacked=False)
    assert "attacks nothing" in problem


def test_a_judge_is_no_attack(place: Path) -> None:
    config = attacked_config(place)
    config.evaluation.attacks["gcg"].method = config.evaluation.judges["first"]
    with pytest.raises(ConfigError, match="is no attack: KeywordJudge"):
        run(config)

"""Training tables from end to end on a tiny model: complete, proven, cached."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ssah_exp.config.schema import ArmConfig
from ssah_exp.errors import ConfigError, ModelError, UnitError
from ssah_exp.interventions.delta import Delta, apply_to_folder
from ssah_exp.models.weights import read_weights
from ssah_exp.pipeline import dispatch
from ssah_exp.pipeline.opened import Finished, open_run
from ssah_exp.pipeline.training_arms import plan_training_arms
from ssah_exp.pipeline.training_table import run_training_table
from ssah_exp.records.store import RecordStore
from ssah_exp.training.certificate import load_plan
from ssah_exp.units.summary import size_of_set
from ssah_exp.units.unitmap import UnitMap
from tests.pipeline.tiny_run import (
    FINETUNE,
    SAMPLES,
    SIZES,
    computed,
    counted,
    furnish,
    of_class,
    run,
    silent,
    training_config,
    unaligned_config,
)
from tests.pipeline.trained import (
    arm_of,
    cache_of,
    changeable,
    count,
    entry_of,
    moved,
    training_of,
    units_of,
    weights_of,
)

FULL = ArmConfig()
ARMS = {
    "full": FULL,
    "frozen": ArmConfig(
        policy="freeze",
        select=of_class("SCU", "CU"),
        epochs=2,
        controls=["random", "matched"],
        overlap=True,
    ),
    "staged": ArmConfig(
        policy="freeze", select=of_class("SCU"), controls=["random"], first="frozen"
    ),
    "budget": ArmConfig(policy="budget", select=of_class("RU"), controls=["random"]),
}
TRAINED = [
    "full",
    "frozen",
    "frozen/random/0",
    "frozen/matched/0",
    "staged",
    "staged/random/0",
    "budget",
    "budget/random/0",
]
SELECTED = {"frozen": ("SCU", "CU"), "staged": ("SCU",), "budget": ("RU",)}
BATCHES = 3  # ten examples, four at a time


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of its own: the table finds nothing that another file's tests left in the cache."""
    return furnish(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def table(place: Path) -> Finished:
    return run(training_config(place, ARMS))


@pytest.fixture(scope="module")
def budgets(place: Path) -> Finished:
    return run(unaligned_config(place))


def test_every_arm_is_there_in_order_under_a_name_of_its_own(table: Finished) -> None:
    names = [arm.name for arm in table.record.arms]
    assert names == ["unaligned", "aligned", *TRAINED]
    labels = [arm.arm for arm in table.record.arms]
    beside = [name.split("/")[0] for name in TRAINED]
    assert labels == [None, None, *beside]
    controls = [arm.control for arm in table.record.arms]
    assert controls[2:6] == [None, None, "random", "matched"]


def test_every_arm_has_every_metric_with_its_n(table: Finished) -> None:
    counts = counted()
    for arm in table.record.arms:
        wanted = {**counts}
        if arm.name != "unaligned":
            wanted["train_loss"] = FINETUNE  # fewer than training.loss_examples
        if arm.training is not None:
            wanted["epochs"] = arm.training["steps"] + BATCHES * (arm.arm == "staged")
            wanted["trained_share"] = arm.training["certificate"]["changeable_weights"]
        assert {name: item.n for name, item in arm.metrics.items()} == wanted, arm.name
        assert all(item.value is not None for item in arm.metrics.values())


def test_training_changes_something_and_arms_differ(table: Finished) -> None:
    losses = {arm.metrics["train_loss"].value for arm in table.record.arms[1:]}
    assert len(losses) == len(TRAINED) + 1
    perplexities = {arm.metrics["perplexity"].value for arm in table.record.arms}
    assert len(perplexities) == len(TRAINED) + 2
    start = arm_of(table, "aligned").metrics["train_loss"].value
    assert max(arm.metrics["train_loss"].value for arm in table.record.arms[2:]) < start  # type: ignore[operator, type-var]


def test_epochs_count_every_pass(table: Finished) -> None:
    epochs = {name: arm_of(table, name).metrics["epochs"].value for name in TRAINED}
    assert epochs == {
        "full": 1,
        "frozen": 2,
        "frozen/random/0": 2,
        "frozen/matched/0": 2,
        "staged": 2,
        "staged/random/0": 2,
        "budget": 1,
        "budget/random/0": 1,
    }


@pytest.mark.parametrize("control", ["", "/random/0"])
def test_a_controls_first_phase_is_a_control_too(table: Finished, control: str) -> None:
    first = training_of(table, f"staged{control}")["first"]
    assert (first["arm"], first["epochs"], first["steps"]) == (f"frozen{control}", 1, BATCHES)
    assert first["certificate"]["frozen_weights"] > 0
    before = weights_of(table, f"train frozen{control}, 1 epochs first")
    may = changeable("freeze", units_of(table, "SCU", "CU"))
    changed = moved(weights_of(table, "align"), before)
    assert count(changed) > 0
    strays = count({key: changed[key] & ~may[key] for key in may})
    assert (strays == 0) == (control == ""), "the control freezes other units"


@pytest.mark.parametrize("name", SELECTED)
def test_frozen_weights_are_the_starts_bit_for_bit(table: Finished, name: str) -> None:
    """Against slices written out from the definition and the two folders' bytes."""
    before, after = weights_of(table, "align"), weights_of(table, f"train {name}")
    may = changeable(ARMS[name].policy, units_of(table, *SELECTED[name]))
    changed = moved(before, after)
    assert count({key: changed[key] & ~may[key] for key in may}) == 0
    if name == "staged":  # the certificate speaks of its last phase
        changed = moved(weights_of(table, "train frozen, 1 epochs first"), after)
    certificate = training_of(table, name)["certificate"]
    total = sum(item.numel() for item in before.values())
    assert certificate["frozen_weights"] == total - count(may) > 0
    assert certificate["changeable_weights"] == count(may)
    assert certificate["changed_weights"] == count(changed) > 0.5 * count(may)


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "full"])
def test_what_an_arm_certifies_as_frozen_is_the_starts(table: Finished, name: str) -> None:
    """Of controls, too, and through both phases."""
    before, after = weights_of(table, "align"), weights_of(table, f"train {name}")
    plan = load_plan(entry_of(table, f"train {name}"))
    assert plan.slices
    for item in plan.slices:
        kept = [weights[item.name].index_select(item.dim, item.rest) for weights in (before, after)]
        assert kept[0].numel() > 0
        assert torch.equal(*kept), item.name
    for frozen in plan.frozen:
        assert torch.equal(before[frozen], after[frozen]), frozen


def test_a_first_phase_that_trains_what_is_frozen_later_is_refused(place: Path) -> None:
    arms = {"full": FULL, "late": ArmConfig("freeze", of_class("SCU"), first="full")}
    with pytest.raises(
        UnitError, match=r"arms\.late\.first=full: full would train what late keeps"
    ):
        run(training_config(place, arms))


def test_shares_are_those_of_the_selected_units(table: Finished) -> None:
    units = UnitMap.load(table.folder / "unitmap")
    parameters = units.index.parameters
    for name, classes in SELECTED.items():
        arm, mask = arm_of(table, name), units_of(table, *classes)
        assert arm.units == mask.sum() > 0
        assert arm.unit_share == pytest.approx(mask.mean())
        share = parameters[mask].sum() / parameters.sum()
        assert arm.parameter_share == pytest.approx(share)
        may = changeable(ARMS[name].policy, mask)
        total = sum(mask.numel() for mask in may.values())
        assert arm.metrics["trained_share"].value == pytest.approx(count(may) / total)
    assert arm_of(table, "full").metrics["trained_share"].value == 1
    assert arm_of(table, "full").units == arm_of(table, "aligned").units == 0


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "full"])
def test_a_delta_makes_the_arm_from_the_model_that_all_start_from(
    table: Finished, tmp_path: Path, name: str
) -> None:
    """That of an arm of two phases, too: nobody has the first phase's result."""
    file = table.folder / "deltas" / f"{name.replace('/', '-')}.safetensors"
    apply_to_folder(Delta.load(file), entry_of(table, "align"), tmp_path / "out")
    made, wanted = read_weights(tmp_path / "out"), weights_of(table, f"train {name}")
    assert made.keys() == wanted.keys()
    assert all(torch.equal(made[key], wanted[key]) for key in wanted)


def test_an_arm_that_cannot_be_is_refused_before_the_first_is_trained(place: Path) -> None:
    pytest.importorskip("peft")
    lora = {
        "_target_": "ssah_exp.training.adapters.lora.Lora",
        "rank": 2,
        "alpha": 4,
        "targets": ["no_proj"],
    }
    arms = {"full": FULL, "lora": ArmConfig(adapter=lora)}
    reporter = silent()
    with pytest.raises(ModelError, match="no projection 'no_proj'"):
        run_training_table(training_config(place, arms, "impossible"), reporter)
    assert [stage.name for stage in reporter.stages] == ["align", "statistics"]


def test_training_everything_leaves_no_delta(table: Finished) -> None:
    assert not (table.folder / "deltas" / "full.safetensors").exists()
    assert (table.folder / "models" / "full" / "model.safetensors").is_file()


CONTROLS = [name for name in TRAINED if "/" in name]


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_have_the_size_and_share_of_what_they_stand_beside(
    table: Finished, name: str
) -> None:
    control, arm = arm_of(table, name), arm_of(table, name.split("/")[0])
    assert control.units == arm.units
    assert control.parameter_share == pytest.approx(arm.parameter_share)
    assert control.magnitude != arm.magnitude
    assert control.class_shares.keys() == arm.class_shares.keys()
    assert control.class_shares != arm.class_shares
    overlap = training_of(table, name)["overlap"]
    assert 0 < overlap < 1 if name.startswith("frozen") else overlap == 0


@pytest.mark.parametrize("name", ["frozen/random/0", "frozen/matched/0", "budget/random/0"])
def test_controls_freeze_as_many_other_neurons_of_every_layer(table: Finished, name: str) -> None:
    before = weights_of(table, "align")
    layers = [f"model.layers.{layer}.mlp.gate_proj.weight" for layer in range(3)]

    def still(stage: str) -> np.ndarray:
        changed = moved(before, weights_of(table, stage))
        return np.stack([(~changed[layer].any(dim=1)).numpy() for layer in layers])

    arm, control = still(f"train {name.split('/')[0]}"), still(f"train {name}")
    assert (arm.sum(axis=1) == control.sum(axis=1)).all()
    assert arm.any()
    assert (arm != control).any()


def test_the_record_says_what_went_in(table: Finished) -> None:
    record = table.record
    samples = {"safety_calibration": SAMPLES, "utility_calibration": SAMPLES}
    assert record.data == {**SIZES, **samples, "finetune": FINETUNE}
    assert record.inputs.keys() == {"model", "text", "finetune", *SIZES}
    assert record.models.keys() == {"base", "aligned"}
    assert record.config["training"]["arms"].keys() == ARMS.keys()
    assert "ablation" not in record.config
    assert record.training is not None, "how the start was aligned"
    units = UnitMap.load(table.folder / "unitmap")
    assert units.provenance.fingerprint == record.models["aligned"]["fingerprint"]
    for arm in record.arms[2:]:
        assert arm.training is not None
        assert arm.training["examples"] == FINETUNE
        assert arm.training["policy"] == ARMS[str(arm.arm)].policy
        assert len(arm.training["losses"]) == arm.training["steps"]


def test_completions_of_every_arm_lie_in_the_run_folder(table: Finished) -> None:
    per_arm = 2 * SIZES["harmful_eval"] + SIZES["benign_eval"] + SIZES["borderline_eval"]
    paths = {arm.completions for arm in table.record.arms}
    assert len(paths) == len(TRAINED) + 2
    for path in paths:
        assert len((table.folder / path).read_text(encoding="utf-8").splitlines()) == per_arm


def test_every_stage_is_listed_once_and_nothing_unfinished_is_left(table: Finished) -> None:
    names = computed(table)
    assert names[:2] == ["align", "statistics"]
    assert "loss of the start" in names
    for arm in TRAINED:
        assert {f"train {arm}", f"answers {arm}", f"losses {arm}"} <= set(names)
    first = [name for name in names if name.endswith("1 epochs first")]
    assert len(first) == 2
    assert len(names) == len(set(names)) == 2 + 2 * 2 + 1 + 3 * len(TRAINED) + len(first)
    assert list(cache_of(table).rglob(".partial-*")) == []
    assert list(cache_of(table).rglob(".work-*")) == []
    for arm in TRAINED:
        assert json.loads((entry_of(table, f"train {arm}") / "certificate.json").read_text())


def test_a_second_run_computes_nothing_and_keeps_the_record(table: Finished, place: Path) -> None:
    path = table.folder / "record.json"
    before = path.read_bytes()
    config = training_config(place, ARMS)
    config.units.batch_size = config.evaluation.batch_size = 2
    config.evaluation.perplexity.batch_size = 3
    config.evaluation.share_prefix = False
    config.trainer.checkpoint_minutes = None
    config.trainer.accelerator = "auto"
    again = run(config)
    assert computed(again) == []
    assert not again.fresh
    assert again.record == RecordStore(place / "training").get(
        "table2_freezing", table.record.run_id
    )
    assert path.read_bytes() == before


def test_the_place_is_not_in_the_id(table: Finished, place: Path) -> None:
    elsewhere = training_config(place, ARMS, "elsewhere")
    opened = open_run(elsewhere, silent(), training=True)
    assert opened.run_id == table.record.run_id
    assert not (place / "elsewhere").exists(), "nothing is computed or written yet"


def test_another_arm_costs_that_arm_alone(table: Finished, place: Path) -> None:
    extra = ArmConfig(policy="budget", select=of_class("UCU"))
    other = run(training_config(place, {**ARMS, "extra": extra}))
    assert other.record.run_id != table.record.run_id
    assert computed(other) == ["train extra", "answers extra", "losses extra"]
    assert other.record.arms[:-1] == table.record.arms


def test_another_seed_is_another_run(table: Finished, place: Path) -> None:
    config = training_config(place, {"full": FULL})
    same = run(config)
    assert computed(same) == [], "one arm of the table"
    config.seed = 1
    other = run(config)
    assert other.record.run_id != same.record.run_id
    assert {"align", "statistics", "train full"} <= set(computed(other))
    assert "answers unaligned" not in computed(other)
    assert arm_of(other, "full").metrics != arm_of(same, "full").metrics


def test_controls_of_another_seed_are_another_draw(place: Path) -> None:
    """Intervals over seeds are to hold what the draw of a control decides."""
    frozen = ArmConfig(policy="freeze", select=of_class("SCU"), controls=["random"])
    config = training_config(place, {"frozen": frozen})
    config.seed = 1
    other = run(config)
    units = UnitMap.load(other.folder / "unitmap")
    drawn = [
        size_of_set(units, plan_training_arms(units, config.training, seed)[1].mask)["magnitude"]
        for seed in (1, 0)
    ]
    found = arm_of(other, "frozen/random/0").magnitude
    assert found == pytest.approx(drawn[0])
    assert found != pytest.approx(drawn[1])


def test_the_unaligned_model_is_aligned_by_units(budgets: Finished, place: Path) -> None:
    record = budgets.record
    assert [arm.name for arm in record.arms] == ["unaligned", "full", "budget"]
    assert record.models.keys() == {"base", "start"}
    assert record.models["base"] == record.models["start"]
    assert record.training is None
    assert "alignment" not in record.config
    assert "align" not in [stage.name for stage in budgets.stages]
    losses = [arm.metrics["train_loss"] for arm in record.arms]
    assert {item.n for item in losses} == {SIZES["alignment"]}
    values = [item.value for item in losses]
    assert values[1] < values[2] < values[0]  # type: ignore[operator]


def test_a_budget_changes_nothing_else_in_the_unaligned_model(
    budgets: Finished, place: Path
) -> None:
    before = load_file(place / "model" / "model.safetensors")
    changed = moved(before, weights_of(budgets, "train budget"))
    may = changeable("budget", units_of(budgets, "RU"))
    assert count({key: changed[key] & ~may[key] for key in may}) == 0
    assert count(changed) > 0.5 * count(may)
    certificate = training_of(budgets, "budget")["certificate"]
    assert certificate["changeable_weights"] == count(may)
    assert certificate["frozen_weights"] > certificate["changed_weights"] > 0


def test_fine_tuning_the_unaligned_model_needs_no_alignment_data(
    budgets: Finished, place: Path
) -> None:
    config = unaligned_config(place)
    config.training.data = "finetune"
    config.training.arms = {"full": FULL}
    config.data.alignment = [{"_target_": "ssah_exp.data.sources.NoSuchSource"}]
    record = run(config).record
    assert (record.data["alignment"], record.data["finetune"]) == (0, FINETUNE)
    assert "alignment" not in record.config["data"]
    config.data.alignment = []
    assert computed(run(config)) == []


def test_a_model_that_comes_aligned_is_the_start(table: Finished, place: Path) -> None:
    config = training_config(place, {"full": FULL})
    config.alignment.enabled = False
    done = run(config)
    assert [arm.name for arm in done.record.arms] == ["aligned", "full"]
    assert done.record.models["base"] == done.record.models["aligned"]
    assert done.record.training is None


def test_a_wrong_selector_adapter_or_optimizer_is_refused_before_anything_is_computed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = {"_target_": "ssah_exp.training.adapters.unit_lora.UnitLora", "rank": 0, "alpha": 1}
    late = ArmConfig(policy="budget", select=of_class("RU"), adapter=adapter)
    with pytest.raises(ConfigError, match=r"UnitLora\.rank=0"):
        run(training_config(place, {"full": FULL, "late": late}, "refused"))
    late = ArmConfig(policy="budget", select={**of_class("RU"), "nmaes": []})
    with pytest.raises(ConfigError, match=r"training\.arms\.late\.select\.nmaes"):
        run(training_config(place, {"full": FULL, "late": late}, "refused"))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    config = training_config(place, {"full": FULL}, "refused")
    config.training.optimizer = "adamw_8bit"
    with pytest.raises(ConfigError, match="adamw_8bit needs bitsandbytes"):
        run(config)
    assert not (place / "refused").exists()


def test_the_table_is_printed_and_kept(
    table: Finished, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = dispatch.run(training_config(place, ARMS))
    printed = capsys.readouterr().out
    assert "| random like frozen" in printed
    assert f"sft on {FINETUNE} examples of data.finetune" in printed
    assert f"over {FINETUNE} training examples" in printed
    assert "Published" in printed
    assert (done.folder / "table.md").read_text(encoding="utf-8") == printed

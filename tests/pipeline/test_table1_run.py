"""Table 1 from end to end on a tiny model: complete, cached, resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ssah_exp.config.schema import RunConfig
from ssah_exp.digest import digest_file
from ssah_exp.errors import ModelError, StoreError, UnitError
from ssah_exp.pipeline import dispatch
from ssah_exp.pipeline.arms import plan_arms
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.stages import answering, benchmarks
from ssah_exp.records.store import RecordStore
from ssah_exp.records.trackers import WandbTracker
from ssah_exp.units.summary import size_of_set
from ssah_exp.units.unitmap import UnitMap
from tests.pipeline.tiny_run import (
    JUDGES,
    SAMPLES,
    SIZES,
    computed,
    counted,
    run,
    save_data,
    tiny_config,
)

ARTEFACT = "table1_pruning"
ARMS = [
    "unaligned",
    "aligned",
    *(f"{name}/{fill}" for name in ("SCU", "RU") for fill in ("pooled", "zero")),
    *(f"SCU/pooled/{kind}/{draw}" for kind in ("random", "matched") for draw in range(2)),
]


def stored(place: Path, root: str = "root") -> list[str]:
    return [record.run_id for record in RecordStore(place / root).read(ARTEFACT)]


def test_the_record_on_disk_is_the_record(finished: Finished, place: Path) -> None:
    assert finished.folder == place / "root" / "runs" / ARTEFACT / finished.record.run_id
    records = RecordStore(place / "root").read(ARTEFACT)
    (record,) = [item for item in records if item.run_id == finished.record.run_id]
    assert record.arms == finished.record.arms
    assert record.classes == finished.record.classes
    assert (record.status, record.seed) == ("done", 0)


def test_every_arm_has_every_metric_with_its_n(finished: Finished) -> None:
    counts = counted()
    assert [arm.name for arm in finished.record.arms] == ARMS
    for arm in finished.record.arms:
        assert {name: item.n for name, item in arm.metrics.items()} == counts
        for item in arm.metrics.values():
            assert item.value is not None
            assert item.low is not None
            assert item.low <= item.value <= item.high  # type: ignore[operator]


def test_ablation_changes_something_and_arms_differ(finished: Finished) -> None:
    values = {arm.metrics["perplexity"].value for arm in finished.record.arms}
    assert len(values) == len(ARMS)


def test_the_record_says_what_went_in(finished: Finished) -> None:
    record = finished.record
    samples = {"safety_calibration": SAMPLES, "utility_calibration": SAMPLES}
    assert record.data == {**SIZES, **samples}
    assert record.inputs.keys() == {"model", "text", *SIZES}
    assert record.models["base"]["fingerprint"] != record.models["aligned"]["fingerprint"]
    assert record.training is not None
    assert record.training["final_loss"] < record.training["first_loss"]
    assert record.judges.keys() == JUDGES.keys()
    assert all(item["examples"] == SAMPLES for item in record.calibration.values())
    assert record.provenance["packages"]["torch"]
    assert record.config["units"]["budgets"]["scu"] == 0.05
    assert "paths" not in record.config


def test_shares_of_the_arms_agree_with_the_classes(finished: Finished) -> None:
    record = finished.record
    assert sum(row["unit_share"] for row in record.classes.values()) == pytest.approx(1)
    for arm in record.arms:
        if arm.unit_class is not None:
            summary = record.classes[arm.unit_class]
            assert arm.units == summary["units"] > 0
            assert arm.parameter_share == pytest.approx(summary["parameter_share"])


def test_units_and_completions_lie_in_the_run_folder(finished: Finished) -> None:
    units = UnitMap.load(finished.folder / "unitmap")
    assert units.provenance.fingerprint == finished.record.models["aligned"]["fingerprint"]
    per_arm = 2 * SIZES["harmful_eval"] + SIZES["benign_eval"] + SIZES["borderline_eval"]
    for arm in finished.record.arms:
        lines = (finished.folder / arm.completions).read_text(encoding="utf-8").splitlines()
        assert len(lines) == per_arm
        assert json.loads(lines[0]).keys() >= {"set", "style", "prompt", "completion"}
        assert arm.completions_sha256 == digest_file(finished.folder / arm.completions)


def test_every_stage_is_listed_with_its_key(finished: Finished) -> None:
    names = [stage.name for stage in finished.record.stages]
    pairs = [f"{kind} {arm}" for arm in ARMS for kind in ("answers", "losses")]
    assert names == ["align", "statistics", *pairs]
    assert computed(finished) == names
    assert len({stage.key for stage in finished.record.stages}) == len(names)


def test_a_second_run_computes_nothing(finished: Finished, place: Path) -> None:
    again = run(tiny_config(place))
    assert computed(again) == []
    assert again.record.arms == finished.record.arms
    assert stored(place).count(finished.record.run_id) == 1


def test_where_and_how_fast_changes_nothing(finished: Finished, place: Path) -> None:
    config = tiny_config(place)
    config.units.batch_size = config.evaluation.batch_size = 2
    config.evaluation.perplexity.batch_size = 3
    config.evaluation.share_prefix = False
    again = run(config)
    assert again.record.run_id == finished.record.run_id
    assert computed(again) == []


def test_another_budget_costs_no_training_and_no_statistics(
    finished: Finished, place: Path
) -> None:
    config = tiny_config(place)
    config.units.budgets.scu = 0.1
    other = run(config)
    assert other.record.run_id != finished.record.run_id
    names = computed(other)
    assert names
    assert all("SCU" in name for name in names), "dense models and RU are as they were"
    assert other.record.classes["SCU"]["units"] > finished.record.classes["SCU"]["units"]


def test_a_class_of_more_than_half_a_layer_can_have_controls(
    finished: Finished, place: Path
) -> None:
    config = tiny_config(place)
    config.units.budgets.ru, config.ablation.classes = 0.8, ["RU"]
    config.ablation.controls.of, config.ablation.controls.draws = ["RU"], 1
    with pytest.raises(UnitError, match=r"With ablation\.controls\.overlap=true"):
        run(config)
    config.ablation.controls.overlap = True
    other = run(config)
    assert not {"align", "statistics"} & set(computed(other)), "done before the refusal"
    (kept,) = [
        item
        for item in RecordStore(place / "root").read(ARTEFACT)
        if item.run_id == other.record.run_id
    ]
    assert kept.config["ablation"]["controls"]["overlap"] is True
    for arm in kept.arms:
        assert 0.5 < arm.overlap < 1 if arm.control else arm.overlap is None  # type: ignore[operator]
    assert "overlap" not in finished.record.config["ablation"]["controls"]
    assert {arm.overlap for arm in finished.record.arms} == {None}


def test_another_seed_is_another_run(finished: Finished, place: Path) -> None:
    config = tiny_config(place)
    config.seed = 1
    other = run(config)
    assert other.record.run_id != finished.record.run_id
    assert {"align", "statistics"} <= set(computed(other))
    assert "answers unaligned" not in computed(other)
    # Controls of all seeds from one draw would make intervals over seeds too narrow.
    units = UnitMap.load(other.folder / "unitmap")
    plans = [plan_arms(units, config.ablation, seed, with_unaligned=True) for seed in (1, 0)]
    drawn = [
        {arm.name: size_of_set(units, arm.mask)["magnitude"] for arm in plan if arm.control}
        for plan in plans
    ]
    found = {arm.name: arm.magnitude for arm in other.record.arms if arm.control}
    assert found == pytest.approx(drawn[0])
    assert found.keys() == drawn[1].keys()
    assert all(found[name] != pytest.approx(value) for name, value in drawn[1].items())


def test_a_model_that_comes_aligned_is_not_trained(finished: Finished, place: Path) -> None:
    config = tiny_config(place)
    config.alignment.enabled = False
    config.ablation.controls.kinds = []
    other = run(config).record
    assert other.training is None
    assert [arm.name for arm in other.arms][:2] == ["aligned", "SCU/pooled"]
    assert other.models["base"] == other.models["aligned"]


def fail_at(call: int, error: BaseException, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, but its ``call``-th call raises."""
    calls = 0

    def failing(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return function(*arguments, **named)

    return failing


@pytest.mark.parametrize(
    ("module", "stage", "error"),
    [
        (answering, "generate", KeyboardInterrupt()),
        (benchmarks, "window_losses", MemoryError()),
    ],
)
def test_a_run_that_broke_off_in_the_third_arm_goes_on_with_equal_results(
    finished: Finished,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    stage: str,
    error: Exception,
) -> None:
    """In a fresh root, so that training and statistics are shown to repeat exactly, too."""
    root = f"broken-{stage}"
    with monkeypatch.context() as patched:
        patched.setattr(module, stage, fail_at(3, error, getattr(module, stage)))
        with pytest.raises(type(error)):
            run(tiny_config(place, root))
    assert stored(place, root) == []
    assert list((place / root / "cache").rglob(".work-*")) == []

    whole = run(tiny_config(place, root))
    done = {stage.name for stage in whole.record.stages if stage.cached}
    assert {"align", "statistics", "answers unaligned", "losses aligned"} <= done
    assert "losses SCU/pooled" not in done
    assert whole.record.arms == finished.record.arms
    assert whole.record.models == finished.record.models


def test_a_damaged_entry_is_recomputed_with_the_same_result(
    finished: Finished, place: Path
) -> None:
    key = next(item.key for item in finished.record.stages if item.name == "answers aligned")
    path = place / "root" / "cache" / "answers" / key / "completions.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="completions.jsonl has another checksum"):
        again = run(tiny_config(place))
    assert computed(again) == ["answers aligned"]
    assert again.record.arms == finished.record.arms


def test_aligning_again_leaves_the_base_model_as_it_was(finished: Finished, place: Path) -> None:
    """Statistics stay cached, so the unaligned arm is the next to need a model."""
    lost = {"align", "answers unaligned", "losses unaligned"}
    for stage in finished.record.stages:
        if stage.name in lost:
            shutil.rmtree(place / "root" / "cache" / stage.name.split()[0] / stage.key)
    again = run(tiny_config(place))
    assert set(computed(again)) == lost
    assert again.record.arms == finished.record.arms


def test_edited_data_is_another_run(finished: Finished, place: Path, tmp_path: Path) -> None:
    config = tiny_config(place)
    save_data(tmp_path)
    edited = tmp_path / "harmful_eval.csv"
    edited.write_text(edited.read_text().replace("w0", "w40"), encoding="utf-8")
    config.data.harmful_eval["path"] = str(edited)
    other = run(config)
    assert other.record.run_id != finished.record.run_id
    anew = computed(other)
    assert anew
    assert all(name.startswith("answers ") for name in anew)


WANDB = {"_target_": "ssah_exp.records.trackers.WandbTracker"}


def dispatched(place: Path, target: dict[str, Any] | None) -> RunConfig:
    config = tiny_config(place)
    config.tracker.target = target
    return config


def test_the_table_is_printed_and_kept(
    finished: Finished, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = dispatch.run(dispatched(place, None))
    printed = capsys.readouterr().out
    assert "| random like SCU" in printed
    assert (done.folder / "table.md").read_text(encoding="utf-8") == printed
    assert "n = 5 harmful, 4 benign and 3 borderline prompts" in printed


@pytest.mark.parametrize("device", ["cuda:99", "cudda"])
def test_a_device_that_is_not_there_is_refused_with_everything_cached(
    finished: Finished, place: Path, device: str
) -> None:
    config = dispatched(place, None)
    config.model.device = device
    with pytest.raises(ModelError, match=f"^model.device={device} is not available here: "):
        dispatch.run(config)
    config.model.device_map = {"": "cpu"}  # which decides where the model lies, instead
    config.alignment.enabled = False
    dispatch.run(config)


def test_a_tracker_that_fails_costs_a_warning_only(
    finished: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr(WandbTracker, "mirror", fail)
    with pytest.warns(UserWarning, match=r"tracker failed: no network\. The record is whole"):
        dispatch.run(dispatched(place, WANDB))
    assert not list((place / "root" / "mirrored").glob("wandb-*/*.json"))
    assert stored(place).count(finished.record.run_id) == 1


def test_a_finished_run_is_mirrored_once(
    finished: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        WandbTracker,
        "mirror",
        lambda self, record, folder, root: seen.append(record.run_id) or "there",
    )
    for _ in range(2):
        dispatch.run(dispatched(place, WANDB))
    assert seen == [finished.record.run_id]


def test_a_full_disk_is_one_clear_error(place: Path) -> None:
    (place / "file").write_text("")
    with pytest.raises(StoreError, match="a file lies where a folder is needed"):
        run(tiny_config(place, "file"))


def test_a_repeated_run_leaves_the_record_that_says_who_computed_it(
    place: Path, finished: Finished
) -> None:
    path = finished.folder / "record.json"
    before = path.read_bytes()
    again = run(tiny_config(place))
    assert not again.fresh
    assert again.record == RecordStore(place / "root").get(ARTEFACT, finished.record.run_id)
    assert path.read_bytes() == before

"""The UnitMap on disk, against other models, and in summary."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.digest import digest_file
from ssah_exp.errors import StoreError, UnitError
from ssah_exp.units import unitmap
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.summary import (
    class_summary,
    describe,
    layer_summary,
    rank_agreement,
    size_of_set,
)
from ssah_exp.units.unitmap import UnitMap
from tests.units.maps import ANATOMY, PROVENANCE, random_map


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    random_map().save(tmp_path / "map")
    return tmp_path / "map"


def edit(folder: Path, **changes: object) -> None:
    path = folder / "unitmap.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def as_of_earlier_versions(folder: Path, **changes: object) -> None:
    """Edit a description and drop its own digest, which earlier versions did not write."""
    path = folder / "unitmap.json"
    description = {**json.loads(path.read_text()), **changes}
    del description["description_sha256"]
    path.write_text(json.dumps(description))


def test_a_full_disk_leaves_the_old_map(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(saved.iterdir())
    monkeypatch.setattr("ssah_exp.units.unitmap.save_file", half)
    with pytest.raises(StoreError, match="disk is full"):
        random_map(seed=1).save(saved)
    assert sorted(saved.iterdir()) == before
    assert np.array_equal(UnitMap.load(saved).safety, random_map().safety)


@pytest.mark.parametrize("name", ["", "unitmap.json", "unitmap.safetensors"])
def test_round_trip(saved: Path, name: str) -> None:
    original, again = random_map(), UnitMap.load(saved / name)
    for field in ("anatomy", "provenance", "budgets"):
        assert getattr(again, field) == getattr(original, field)
    for field in ("safety", "utility", "classes", "shift", "norm"):
        mine, theirs = getattr(original, field), getattr(again, field)
        assert np.array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype


def test_tensors_can_be_read_without_this_package(saved: Path) -> None:
    tensors, index = load_file(saved / "unitmap.safetensors"), random_map().index
    for name in ("layer", "kind", "index"):
        assert np.array_equal(tensors[name], getattr(index, name))
    assert json.loads((saved / "unitmap.json").read_text())["classes"]["0"] == "SCU"


def test_saving_again_replaces(saved: Path) -> None:
    other = random_map(seed=1)
    other.save(saved)
    assert np.array_equal(UnitMap.load(saved).safety, other.safety)


@pytest.mark.parametrize("name", ["unitmap.json", "unitmap.safetensors"])
def test_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(UnitError, match=f"{name} is missing"):
        UnitMap.load(saved)


def test_a_map_that_may_not_be_read_is_one_clear_error(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(unitmap, "digest_file", refuse)
    with pytest.raises(UnitError, match=r"cannot be read: .*Permission denied.*unitmap\.safet"):
        UnitMap.load(saved)


def test_mistyped_folder_is_not_read_from_its_parent(saved: Path) -> None:
    with pytest.raises(UnitError, match="missing"):
        UnitMap.load(saved / "typo")


def test_flipped_bit_is_noticed(saved: Path) -> None:
    path = saved / "unitmap.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnitError, match="checksum"):
        UnitMap.load(saved)


def test_truncated_tensors(saved: Path) -> None:
    path = saved / "unitmap.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnitError, match="damaged"):
        UnitMap.load(saved)


@pytest.mark.parametrize("keep", [0, 1, 200])
def test_truncated_description(saved: Path, keep: int) -> None:
    path = saved / "unitmap.json"
    path.write_text(path.read_text()[:keep])
    with pytest.raises(UnitError, match="damaged"):
        UnitMap.load(saved)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"format": 1}'])
def test_description_of_something_else(saved: Path, content: str) -> None:
    (saved / "unitmap.json").write_text(content)
    with pytest.raises(UnitError, match="damaged"):
        UnitMap.load(saved)


def test_other_format(saved: Path) -> None:
    edit(saved, format=99)
    with pytest.raises(UnitError, match="format 99, not 1"):
        UnitMap.load(saved)


def test_unit_count_must_fit_the_anatomy(saved: Path) -> None:
    edit(saved, anatomy={**ANATOMY.as_dict(), "layers": 5})
    with pytest.raises(UnitError, match="holds 344 units; its model has 430"):
        UnitMap.load(saved)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("anatomy", {**ANATOMY.as_dict(), "head_parameters": 1.0}),
        ("budgets", {"scu": 0.5, "ucu": 0.0, "ru": 0.0, "unit": "units", "overlap": "refill"}),
        ("provenance", {**asdict(PROVENANCE), "statistic": "flap"}),
        ("provenance", {**asdict(PROVENANCE), "fingerprint": "e" * 64}),
        ("added", 1),
    ],
)
def test_a_description_changed_by_hand_is_noticed(saved: Path, key: str, value: object) -> None:
    edit(saved, **{key: value})
    with pytest.raises(UnitError, match=r"unitmap\.json was changed since it was written"):
        UnitMap.load(saved)


def test_a_description_written_anew_with_other_blanks_is_the_same(saved: Path) -> None:
    edit(saved)
    assert np.array_equal(UnitMap.load(saved).classes, random_map().classes)


def test_settings_keep_their_digest_whatever_their_keys(tmp_path: Path) -> None:
    """JSON has text for keys, which sorts otherwise than numbers."""
    origin = replace(PROVENANCE, settings={"by": {2: (1, 2), 10: None}, "of": "Größe"})
    replace(random_map(), provenance=origin).save(tmp_path)
    assert UnitMap.load(tmp_path).provenance.settings["by"] == {"2": [1, 2], "10": None}


def test_maps_of_earlier_versions_load(saved: Path) -> None:
    as_of_earlier_versions(saved)
    assert np.array_equal(UnitMap.load(saved).classes, random_map().classes)


@pytest.mark.parametrize("measure", ["shift", "norm"])
def test_maps_from_before_there_was_a_measure_load(tmp_path: Path, measure: str) -> None:
    replace(random_map(), **{measure: None}).save(tmp_path)
    assert measure not in load_file(tmp_path / "unitmap.safetensors")
    again = UnitMap.load(tmp_path)
    assert getattr(again, measure) is None
    assert size_of_set(again, again.select(UnitClass.SCU))[measure] is None


@pytest.mark.parametrize(
    ("key", "legend"),
    [
        ("classes", {"0": "UCU", "1": "SCU", "2": "CU", "3": "RU"}),
        ("kinds", {"0": "neuron", "1": "head"}),
    ],
)
def test_another_legend_is_refused(saved: Path, key: str, legend: dict[str, str]) -> None:
    as_of_earlier_versions(saved, **{key: legend})
    with pytest.raises(UnitError, match=rf"unitmap\.json has {key} .*, not "):
        UnitMap.load(saved)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("class", 9, "unit 7 has class 9, which is none of"),
        ("safety", np.nan, "the safety score of unit 7 is nan"),
        ("utility", -np.inf, "the utility score of unit 7 is -inf"),
        ("shift", np.nan, "the shift score of unit 7 is nan"),
        ("norm", np.inf, "the norm score of unit 7 is inf"),
    ],
)
def test_values_that_no_identification_gives_are_refused(
    saved: Path, name: str, value: float, found: str
) -> None:
    tensors = load_file(saved / "unitmap.safetensors")
    tensors[name][7] = value
    save_file(tensors, saved / "unitmap.safetensors")
    as_of_earlier_versions(saved, sha256=digest_file(saved / "unitmap.safetensors"))
    with pytest.raises(UnitError, match=found):
        UnitMap.load(saved)


def test_scores_of_fewer_units_are_refused(saved: Path) -> None:
    tensors = load_file(saved / "unitmap.safetensors")
    tensors["utility"] = tensors["utility"][:-1].copy()
    save_file(tensors, saved / "unitmap.safetensors")
    as_of_earlier_versions(saved, sha256=digest_file(saved / "unitmap.safetensors"))
    with pytest.raises(UnitError, match="343 scores of utility for 344 units"):
        UnitMap.load(saved)


def test_the_scored_model_is_accepted() -> None:
    random_map().check_model(ANATOMY, PROVENANCE.fingerprint)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(UnitError, match="made for"):
        random_map().check_model(replace(ANATOMY, kv_heads=1), PROVENANCE.fingerprint)


def test_other_weights_are_refused() -> None:
    with pytest.raises(UnitError, match=r"tiny/model.*other weights.*Identify"):
        random_map().check_model(ANATOMY, "e" * 64)


def test_reclassified_keeps_scores() -> None:
    units = random_map()
    budgets = BudgetsConfig(scu=0.3, ucu=0.05, ru=0.0)
    again = units.reclassified(budgets)
    assert again.budgets == budgets
    assert again.safety is units.safety
    assert again.utility is units.utility
    assert again.shift is units.shift
    assert again.norm is units.norm
    assert not again.select(UnitClass.RU).any()
    assert again.select(UnitClass.SCU).sum() > units.select(UnitClass.SCU).sum()
    assert np.array_equal(again.reclassified(units.budgets).classes, units.classes)


def test_select_partitions_the_units() -> None:
    units = random_map()
    assert (sum(units.select(item).astype(int) for item in UnitClass) == 1).all()
    assert all(units.select(item).any() for item in UnitClass)


def test_class_summary_adds_up() -> None:
    units = random_map()
    summary = class_summary(units)
    assert list(summary) == ["SCU", "UCU", "CU", "RU"]
    total = {key: sum(row[key] for row in summary.values()) for key in summary["CU"]}
    assert total["units"] == ANATOMY.units == total["heads"] + total["neurons"]
    assert total["heads"] == 4 * 6
    assert total["unit_share"] == pytest.approx(1)
    assert total["parameter_share"] == pytest.approx(1)
    for name, row in summary.items():
        mask = units.select(UnitClass[name])
        assert row["units"] == mask.sum() == row["heads"] + row["neurons"]
        assert row["unit_share"] == pytest.approx(mask.sum() / ANATOMY.units)
        weight = row["heads"] * 7.5 + row["neurons"]
        assert row["parameter_share"] == pytest.approx(weight / (4 * (6 * 7.5 + 80)))


def test_the_magnitude_of_a_set_is_what_its_units_score_for_both() -> None:
    units = random_map()
    mask = units.select(UnitClass.UCU)
    found, sums = size_of_set(units, mask), units.safety[mask] + units.utility[mask]
    assert found["magnitude"] == pytest.approx(sums.mean())
    summary = class_summary(units)["UCU"]
    for key in ("units", "unit_share", "parameter_share"):
        assert found[key] == pytest.approx(summary[key])
    assert size_of_set(units, None)["magnitude"] is None


@pytest.mark.parametrize("measure", ["shift", "norm"])
def test_a_measure_of_a_set_is_the_mean_of_its_units(measure: str) -> None:
    units = random_map()
    mask = units.select(UnitClass.UCU)
    assert size_of_set(units, mask)[measure] == pytest.approx(units.known(measure)[mask].mean())
    assert size_of_set(units, None)[measure] is None


def test_a_set_says_how_much_of_each_class_it_holds() -> None:
    units = random_map()
    mask = units.select(UnitClass.SCU) | (units.index.layer == 1)
    expected = {
        item.name: sum(mask[units.classes == item]) / sum(units.classes == item)
        for item in UnitClass
    }
    assert expected["SCU"] == 1
    assert 0 < expected["CU"] < 1
    assert size_of_set(units, mask)["class_shares"] == pytest.approx(expected)
    assert size_of_set(units, None)["class_shares"] == {}


def test_a_class_without_units_has_no_share() -> None:
    units = random_map()
    classes = np.where(units.classes == UnitClass.UCU, UnitClass.CU, units.classes)
    units = replace(units, classes=classes)
    shares = size_of_set(units, units.select(UnitClass.SCU))["class_shares"]
    assert shares == {"SCU": 1.0, "CU": 0.0, "RU": 0.0}


def test_layer_summary_adds_up() -> None:
    units = random_map()
    rows, summary = layer_summary(units), class_summary(units)
    assert [row["layer"] for row in rows] == [0, 1, 2, 3]
    for row in rows:
        assert sum(value for key, value in row.items() if key.endswith("_heads")) == 6
        assert sum(value for key, value in row.items() if key.endswith("_neurons")) == 80
    for name in summary:
        for kind in ("heads", "neurons"):
            assert sum(row[f"{name}_{kind}"] for row in rows) == summary[name][kind]


def test_description_is_json() -> None:
    description = json.loads(json.dumps(describe(random_map())))
    assert description["model"] == "tiny/model"
    assert description["statistic"] == "variance"
    assert description["unweighted"] is False
    assert description["anatomy"]["neurons"] == 80


def test_rank_agreement() -> None:
    units = random_map()
    same = rank_agreement(units, units)
    assert all(value == pytest.approx(1) for value in same.values())
    reversed_scores = UnitMap.from_scores(
        ANATOMY, PROVENANCE, units.budgets, -units.safety, -units.utility
    )
    opposite = rank_agreement(units, reversed_scores)
    assert opposite["spearman_safety"] == pytest.approx(-1)
    assert opposite["spearman_preference"] == pytest.approx(-1)
    assert opposite["jaccard_scu"] == 0
    empty = units.reclassified(BudgetsConfig(scu=0.0))
    assert rank_agreement(empty, empty)["jaccard_scu"] is None

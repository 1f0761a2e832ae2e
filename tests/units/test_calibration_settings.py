"""Ways to calibrate compared: against plain counting, and where the answer is known beforehand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from ssah_exp.config.schema import BudgetsConfig, TrainerConfig, UnitsConfig
from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.data.chat import Encoded
from ssah_exp.errors import UnitError
from ssah_exp.reporting.atlas_rows import inclusion_table, setting_rows, settings_consensus
from ssah_exp.reporting.figures.noise import draw_noise
from ssah_exp.units.agreement import ClassAgreement, Spread
from ssah_exp.units.calibration_settings import (
    CalibrationSetting,
    ComparedSetting,
    SettingsAtlas,
    SettingsComparison,
    size_curve,
)
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.consensus import consensus_map
from ssah_exp.units.identify import Identification, identify
from ssah_exp.units.noise import Noise, moved_shares, transfer_noise
from ssah_exp.units.resampling import bootstrap_of, resampled_maps
from ssah_exp.units.selectors import FromMap, select_units
from ssah_exp.units.unitmap import UnitMap
from tests import tiny
from tests.units.maps import PROVENANCE

UNITS = UnitsConfig(batch_size=3, budgets=BudgetsConfig(scu=0.1, ucu=0.1, ru=0.1))
RESAMPLES = 12


@cache
def identified(safety: int = 1, utility: int = 2, count: int = 8, model: int = 0) -> Identification:
    """On conversations of two seeds."""
    sets = {
        "safety": tiny.conversations(count, seed=safety),
        "utility": tiny.conversations(count, seed=utility),
    }
    trainer = TrainerConfig(accelerator="cpu", progress=False)
    return identify(tiny.tiny_loaded(seed=model), sets, UNITS, trainer, keep_examples=True)


@cache
def atlas() -> SettingsAtlas:
    found = SettingsComparison(identified(), UNITS, resamples=RESAMPLES)
    found.add(CalibrationSetting("same", "nothing", identified()))
    found.add(CalibrationSetting("other", "safety data", identified(safety=5)))
    found.add(CalibrationSetting("floor", "unrelated", identified(7, 8), floor=True))
    return found.result([])


def units_of(found: Identification) -> UnitMap:
    return found.unit_map(UNITS, PROVENANCE)


def test_all_examples_are_compared_as_plain_sets() -> None:
    compared = {item.name: item for item in atlas().compared}
    assert list(compared) == ["run", "same", "other", "floor", "flap", "random"]
    run, other = units_of(identified()), units_of(identified(safety=5))
    for item in UnitClass:
        mine, theirs = (set(np.flatnonzero(m.select(item))) for m in (run, other))
        assert compared["other"].jaccard[item.name] == pytest.approx(
            len(mine & theirs) / len(mine | theirs)
        )
    rho = spearmanr(run.safety - run.utility, other.safety - other.utility).statistic
    assert compared["other"].spearman == pytest.approx(rho)
    for name in ("run", "same"):
        assert set(compared[name].jaccard.values()) == {1.0}
        assert compared[name].spearman == pytest.approx(1)
    assert compared["other"].examples == {"safety": 8, "utility": 8}


def test_resamples_of_two_settings_are_drawn_apart() -> None:
    """The run against itself is not 1: it is the ceiling that other settings stand below."""
    compared = {item.name: item for item in atlas().compared}
    drawn = {name: item.drawn for name, item in compared.items()}
    assert drawn["flap"] is None
    means = {name: item.spearman.mean for name, item in drawn.items() if item is not None}
    assert all(mean is not None and mean < 1 for mean in means.values())
    # Another draw of the same examples agrees as well as the run does with itself.
    assert means["same"] == pytest.approx(means["run"], abs=0.25)
    assert means["other"] < means["run"]
    assert abs(means["random"]) < 0.2


def test_inclusion_is_the_share_of_resamples_and_floors_have_none() -> None:
    found = atlas()
    assert list(found.inclusion) == ["run", "same", "other"]
    weights = bootstrap_of(identified(safety=5), RESAMPLES, [0, 12, 2])
    counted = sum(
        (classes == UnitClass.SCU).astype(float)
        for classes, _ in resampled_maps(identified(safety=5), weights, UNITS)
    )
    np.testing.assert_allclose(found.inclusion["other"], counted / RESAMPLES)
    np.testing.assert_allclose(found.frequency(), np.mean(list(found.inclusion.values()), axis=0))
    other, run = units_of(identified(safety=5)), units_of(identified())
    np.testing.assert_allclose(found.scores[0], (2 * run.safety + other.safety) / 3)


def test_exactly_a_share_is_at_least_a_share() -> None:
    """Half of all: 24, 190 and 86 of 200 each, whose mean is 0.5 less rounding."""
    counts = {"a": 24, "b": 190, "c": 86}
    shares = {name: np.array([count / 200]) for name, count in counts.items()}
    found = replace(atlas(), inclusion=shares)
    assert found.frequency() < 0.5
    assert found.agreed(0.5).tolist() == [True]
    assert found.agreed(0.505).tolist() == [False]


def test_the_same_seed_gives_the_same_atlas() -> None:
    found = SettingsComparison(identified(), UNITS, resamples=RESAMPLES)
    found.add(CalibrationSetting("same", "nothing", identified()))
    assert found.result([]).compared[:2] == atlas().compared[:2]
    with pytest.raises(UnitError, match="Two settings are called 'same'"):
        found.add(CalibrationSetting("same", "nothing", identified()))
    with pytest.raises(UnitError, match="resamples=1 is below 2"):
        SettingsComparison(identified(), UNITS, resamples=1)
    with pytest.raises(UnitError, match="only their pool"):
        size_curve(replace(identified(), examples=None), UNITS)


def test_larger_draws_agree_better() -> None:
    utility = tiny.conversations(70, seed=2)
    # Another distribution, of five words: without one, draws agree on nothing.
    few = [
        Encoded(tuple(8 + token % 5 for token in item.input_ids), item.response_start)
        for item in tiny.conversations(70, seed=1)
    ]
    trainer = TrainerConfig(accelerator="cpu", progress=False)
    sets = {"safety": few, "utility": utility}
    pool = identify(tiny.tiny_loaded(), sets, UNITS, trainer, keep_examples=True)
    curve = size_curve(pool, UNITS, resamples=RESAMPLES)
    assert [item.size for item in curve] == [16, 32, 35]
    means = [item.spearman.mean for item in curve]
    assert means[0] < means[-1] < 1  # type: ignore[operator]


def test_the_consensus_is_a_unit_map_that_selectors_take(tmp_path: Path) -> None:
    run, folder = units_of(identified()), tmp_path / "consensus"
    agreed = consensus_map(atlas(), run, 0.5)
    scu = atlas().frequency() >= 0.5
    np.testing.assert_array_equal(agreed.select(UnitClass.SCU), scu)
    assert 0 < scu.sum() < scu.size
    budgets = agreed.reclassified(UNITS.budgets)
    elsewhere = ~scu & (budgets.classes != UnitClass.SCU)
    np.testing.assert_array_equal(agreed.classes[elsewhere], budgets.classes[elsewhere])
    agreed.save(folder)
    digest = UnitMap.checksum(folder)
    mask = select_units(FromMap(str(folder), digest, ["SCU"]), run, 0, "x")
    for file in UnitMap.files(folder):
        by_file = select_units(FromMap(str(file), digest, ["SCU"]), run, 0, "x")
        np.testing.assert_array_equal(by_file, mask)
    np.testing.assert_array_equal(mask, scu)
    with pytest.raises(UnitError, match="not 0000"):
        FromMap(str(folder), "0000", ["SCU"])  # at once: it is applied after hours of training
    with pytest.raises(UnitError, match="No UnitMap in"):
        FromMap(str(tmp_path / "nowhere"), digest, ["SCU"])
    stranger = replace(run, provenance=replace(run.provenance, fingerprint="e" * 64))
    with pytest.raises(UnitError, match="other weights"):
        FromMap(str(folder), digest, ["SCU"]).select(stranger, 0)
    with pytest.raises(UnitError, match=r"FromMap.names=SCUU. Did you mean 'SCU'"):
        FromMap(str(folder), digest, ["SCUU"])
    with pytest.raises(UnitError, match=r"share=0 lies outside"):
        consensus_map(atlas(), run, 0)


def test_shares_that_moved_are_counted_one_by_one() -> None:
    draw = np.random.default_rng(0)
    before, after = (draw.integers(0, 3, 50).astype(np.uint8) for _ in range(2))
    (shares,) = moved_shares([(before, after)])
    for a in range(3):
        for b in range(4):
            whole = [y for x, y in zip(before, after, strict=True) if x == a]
            assert shares[a, b] == pytest.approx(whole.count(b) / len(whole))
    assert np.isnan(shares[3]).all(), "a class without units has no shares"


def test_without_training_nothing_moves_on_the_same_examples() -> None:
    same = transfer_noise(identified(), identified(), UNITS, resamples=RESAMPLES)
    trained, redrawn, halves = same
    assert [item.name for item in same] == ["trained", "redrawn", "halves"]
    for name in ("SCU", "UCU", "CU", "RU"):
        assert trained.shares[name, name].mean == 1
        assert redrawn.shares[name, name].mean < 1  # type: ignore[operator]
        assert halves.shares[name, name].mean < 1  # type: ignore[operator]
    other = transfer_noise(identified(), identified(model=1), UNITS, resamples=RESAMPLES)
    assert other[0].shares["SCU", "SCU"].mean < redrawn.shares["SCU", "SCU"].mean  # type: ignore[operator]
    assert other[1:] == same[1:], "the null does not look at the second model"
    with pytest.raises(UnitError, match="same examples"):
        transfer_noise(identified(), identified(count=7), UNITS)


def test_halves_of_the_examples_are_disjoint_and_as_large_as_can_be() -> None:
    """Of six examples, three beside the other three, in an order drawn for each set."""
    found = transfer_noise(identified(count=6), identified(count=6), UNITS, resamples=RESAMPLES)[2]
    sides = []
    for half in (slice(0, 3), slice(3, 6)):
        weights = {name: np.zeros((RESAMPLES, 6)) for name in ("safety", "utility")}
        for at, rows in enumerate(weights.values()):
            order = np.tile(np.arange(6), (RESAMPLES, 1))
            order = np.random.default_rng([0, 23, at]).permuted(order, axis=1)
            for row, drawn in zip(rows, order, strict=True):
                row[drawn[half]] = 1
        sides.append(
            [classes for classes, _ in resampled_maps(identified(count=6), weights, UNITS)]
        )
    for before in UnitClass:
        for after in UnitClass:
            shares = [
                np.mean(theirs[mine == before] == after)
                for mine, theirs in zip(*sides, strict=True)
            ]
            assert found.shares[before.name, after.name].mean == pytest.approx(np.mean(shares))


def test_rows_of_an_atlas_say_what_is_of_all_examples_and_what_of_resamples() -> None:
    anatomy = tiny.small_anatomy(layers=2, heads=1, neurons=4, head_parameters=4.0)
    drawn = ClassAgreement("x", 8, 12, {"SCU": Spread(0.5, 0.4, 0.7)}, Spread(0.8, 0.6, 0.9))
    compared = [
        ComparedSetting(
            "tuned", "safety data", False, {"safety": 9, "utility": 6}, {"SCU": 0.55}, 0.85, drawn
        ),
        ComparedSetting(
            "flap", "statistic", True, {"safety": 7, "utility": 5}, {"SCU": None}, 0.1, None
        ),
    ]
    reference = np.full(anatomy.units, UnitClass.CU, dtype=np.uint8)
    reference[[0, 1]] = UnitClass.SCU
    rare, often = np.zeros(anatomy.units), np.zeros(anatomy.units)
    rare[[0, 5]], often[[0, 2, 5]] = 0.5, (1.0, 0.5, 0.9)
    inclusion = {"run": rare, "tuned": often}
    made = SettingsAtlas(reference, compared, [drawn], inclusion, np.zeros((2, anatomy.units)))
    rows = setting_rows(made).astype(object)
    rows = rows.where(rows.notna(), None)
    assert rows.to_numpy().tolist() == [
        ["tuned", "safety data", False, 9, 6, "jaccard_SCU", 0.55, 0.5, 0.4, 0.7],
        ["tuned", "safety data", False, 9, 6, "spearman", 0.85, 0.8, 0.6, 0.9],
        ["flap", "statistic", True, 7, 5, "jaccard_SCU", None, None, None, None],
        ["flap", "statistic", True, 7, 5, "spearman", 0.1, None, None, None],
        ["x", "size", False, 8, 8, "jaccard_SCU", None, 0.5, 0.4, 0.7],
        ["x", "size", False, 8, 8, "spearman", None, 0.8, 0.6, 0.9],
    ]
    # In SCU of 0.75 and 0.7 of all resamples are the two heads, of weight 4 of 16 each.
    found = settings_consensus(made, anatomy, 0.7)
    assert (found["share"], found["settings"]) == (0.7, ["run", "tuned"])
    assert (found["run_units"], found["consensus_units"], found["consensus_heads"]) == (2, 2, 2)
    assert found["consensus_parameter_share"] == pytest.approx(8 / 16)
    assert found["jaccard_with_run"] == pytest.approx(1 / 3)
    assert (found["always"], found["ever"]) == (0, 3)
    table = inclusion_table(made, anatomy)
    assert list(table.columns) == ["layer", "kind", "index", "in_run", "all", "run", "tuned"]
    assert table.to_numpy().tolist() == [
        [0, "head", 0, True, 0.75, 0.5, 1.0],
        [1, "head", 0, False, 0.7, 0.5, 0.9],
        [0, "neuron", 1, False, 0.25, 0.0, 0.5],
        [0, "neuron", 0, True, 0.0, 0.0, 0.0],
    ]


def test_noise_is_written_as_what_went_where_and_drawn_as_what_left(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    shares = {(one, other): Spread(0.1, 0.05, 0.2) for one in CLASSES for other in CLASSES}
    shares |= {(name, name): Spread(0.7, 0.6, 0.9) for name in CLASSES}
    shares["SCU", "CU"] = Spread(0.25, 0.125, 0.5)
    found = [Noise(name, 12, shares) for name in ("redrawn", "trained", "halves")]
    rows = pd.read_csv(draw_noise(found, tmp_path / "noise.svg"))
    moved = rows.set_index(["comparison", "from", "to"])
    names = ["draws", "of_before_mean", "of_before_low", "of_before_high"]
    assert moved.loc[("trained", "SCU", "CU"), names].tolist() == [12, 25, 12.5, 50]
    assert moved.loc[("trained", "CU", "SCU"), names].tolist() == [12, 10, 5, 20]
    for item in drawn[0].axes[0].containers:
        assert list(item[0].get_ydata()) == pytest.approx([30] * len(CLASSES))
        (bars,) = item[2]
        for ends in bars.get_segments():
            assert tuple(ends[:, 1]) == pytest.approx((10, 40)), "100 less the other end"

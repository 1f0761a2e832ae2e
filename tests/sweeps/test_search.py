"""Searches: what is asked of the sampler, which way it goes, and which trial is the best."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ssah_exp.errors import ConfigError
from ssah_exp.sweeps import search
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.search import settings_of

optuna = pytest.importorskip("optuna")
SPACE = ["seed=3", "units.budgets.scu=interval(0.05,0.99)"]


class Asked:
    """Trials are given the next of these values, whatever they ask for."""

    name = "batch"

    def __init__(self, values: list[float]) -> None:
        self.values = iter(values)
        self.jobs: list[list[str]] = []

    def launch(self, jobs: list[list[str]], number: int) -> list[Any]:
        assert number == len(self.jobs)
        self.jobs += jobs
        return [SimpleNamespace(return_value=next(self.values))]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(search, "LAUNCHED", [Sweep(tmp_path)])
    monkeypatch.setattr(search, "_value", lambda job, state, settings: state)
    return tmp_path


def best_of(values: list[float], **given: Any) -> tuple[dict[str, Any], Asked]:
    launcher: Any = Asked(values)
    options = {"metric": "asr", "arm": "SCU/pooled", "trials": len(values), **given}
    best = search.search(settings_of(options), SPACE, launcher, None)  # type: ignore[arg-type]
    return best, launcher


@pytest.mark.parametrize(("direction", "job"), [("minimize", 1), ("maximize", 2)])
def test_the_direction_decides_what_is_sought_and_what_is_best(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    direction: str,
    job: int,
) -> None:
    studies: list[Any] = []
    create = optuna.create_study

    def created(**given: Any) -> Any:
        studies.append(create(**given))
        return studies[-1]

    monkeypatch.setattr(optuna, "create_study", created)
    best, asked = best_of([0.5, 0.25, 0.75], direction=direction)
    assert best["job"] == job
    assert studies[0].direction.name == direction.upper()
    assert [trial.value for trial in studies[0].trials] == [0.5, 0.25, 0.75]
    chosen = best["overrides"]["units.budgets.scu"]
    assert asked.jobs[job] == ["seed=3", f"units.budgets.scu={chosen}"]
    said = f"best of 3: job {job}  asr {best['value']:g}  units.budgets.scu={chosen}"
    assert said in capsys.readouterr().err


def test_a_search_is_repeated_by_its_seed(place: Path) -> None:
    first, again, other = (best_of([1, 2, 3], seed=seed)[1].jobs for seed in (5, 5, 6))
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_a_perplexity_that_overflowed_is_no_best_one(place: Path) -> None:
    best, _ = best_of([math.inf, 3.0, 2.0], metric="perplexity")
    assert (best["job"], best["value"]) == (1, 3.0)
    trials = json.loads((place / "search.json").read_text())["trials"]
    assert [trial["value"] for trial in trials] == [None, 3.0, 2.0]


def test_values_are_of_the_kind_that_the_space_says() -> None:
    kinds = optuna.distributions
    given = {
        "a=interval(0.5,8)": kinds.FloatDistribution(0.5, 8.0),
        "a=int(interval(2,8))": kinds.IntDistribution(2, 8),
        "a=tag(log,interval(0.001,0.1))": kinds.FloatDistribution(0.001, 0.1, log=True),
        "a=tag(log,int(interval(1,64)))": kinds.IntDistribution(1, 64, log=True),
        "a=choice(x,y)": kinds.CategoricalDistribution(["x", "y"]),
        "a=range(1,7,2)": kinds.CategoricalDistribution(["1", "3", "5"]),
    }
    for text, wanted in given.items():
        overrides = OverridesParser.create().parse_overrides([text, "b=1"])
        assert search._space(overrides) == {"a": wanted}
    with pytest.raises(ConfigError, match=r"a: a search takes interval\(\.\.\.\), range"):
        search._space(OverridesParser.create().parse_overrides(["a=glob(*)"]))


def test_a_launcher_that_does_not_wait_for_its_jobs_is_refused() -> None:
    launcher: Any = SimpleNamespace(name="slurm")
    settings = settings_of({"metric": "asr", "arm": "SCU/pooled"})
    assert (settings.direction, settings.trials, settings.seed) == ("maximize", 20, 0)
    with pytest.raises(ConfigError, match="needs hydra/launcher=batch"):
        search.search(settings, SPACE, launcher, None)  # type: ignore[arg-type]

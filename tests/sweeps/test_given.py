"""Options of launchers and sweepers: unknown names and other kinds of values are one message."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hydra_plugins.ssah_exp_sweeps.launchers import LocalLauncher
from ssah_exp.cli import main
from ssah_exp.config.schema import TrainerConfig
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.sweeps import local, search
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.launching import local_options, slurm_options
from ssah_exp.sweeps.search import settings_of

SEARCH = {"metric": "asr/mean/zou2023", "arm": "SCU/pooled"}


@pytest.mark.parametrize(
    ("made", "given", "message"),
    [
        (local_options, {"workers": "two"}, "hydra.launcher.workers=two is not a whole number or"),
        (local_options, {"workers": 1.5}, "hydra.launcher.workers=1.5 is not a whole number or"),
        (local_options, {"gpus": True}, "hydra.launcher.gpus=True is not a whole number or null."),
        (local_options, {"wokers": 2}, "Did you mean 'workers'?"),
        (slurm_options, {"minutes": "ten"}, "hydra.launcher.minutes=ten is not a whole number."),
        (slurm_options, {"gpus": None}, "hydra.launcher.gpus=None is not a whole number."),
        (slurm_options, {"memory_gb": "16G"}, "hydra.launcher.memory_gb=16G is not a number or"),
        (slurm_options, {"memory_gb": 0}, "hydra.launcher.memory_gb=0 is below a megabyte."),
        (slurm_options, {"memory_gb": -1}, "hydra.launcher.memory_gb=-1 is below a megabyte."),
        (slurm_options, {"memory_gb": math.inf}, "hydra.launcher.memory_gb=inf is not finite."),
        (slurm_options, {"memory_gb": math.nan}, "hydra.launcher.memory_gb=nan is not finite."),
        (local_options, {"code": "refuses"}, "Did you mean 'refuse'?"),
        (slurm_options, {"setup": "module load cuda"}, "=module load cuda is not a list."),
        (settings_of, {**SEARCH, "trials": "x"}, "hydra.sweeper.trials=x is not a whole number."),
        (settings_of, {**SEARCH, "trails": 2}, "Did you mean 'trials'?"),
    ],
)
def test_a_wrong_option_is_named(
    made: Callable[[dict[str, Any]], object], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        made(given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("array", "give hydra.launcher.parallel"),
        ("signal", "give hydra.launcher.signal_seconds"),
        ("time", "give hydra.launcher.minutes"),
        ("partition", "give hydra.launcher.partition"),
        ("requeue", "give hydra.launcher.requeues"),
        ("no-requeue", "give hydra.launcher.requeues"),
        ("mem", "give hydra.launcher.memory_gb"),
        ("gpus-per-node", "give hydra.launcher.gpus"),
        ("gpus_per_node", "give hydra.launcher.gpus"),
        ("cpus-per-task", "give hydra.launcher.cpus"),
        ("cpus_per_task", "give hydra.launcher.cpus"),
        ("ntasks", "leave it out"),
        ("output", "leave it out"),
        ("error", "leave it out"),
        ("job-name", "leave it out"),
        ("job_name", "leave it out"),
        ("parsable", "leave it out"),
        ("cpus-per", "give hydra.launcher.cpus"),
        ("outp", "leave it out"),
    ],
)
def test_what_the_launcher_sets_itself_is_no_other_option_of_sbatch(
    name: str, instead: str
) -> None:
    """`array=1-3` left job 0 out and ran one that there is not."""
    with pytest.raises(ConfigError) as caught:
        slurm_options({"sbatch": {name: "1-3", "exclude": "node7"}})
    said = f"hydra.launcher.sbatch.{name}: the launcher decides that itself; {instead}."
    assert str(caught.value) == said


@pytest.mark.parametrize("key", ["partition", "account", "qos", "constraint", "sbatch.comment"])
@pytest.mark.parametrize("value", ["a\ntouch x", "a\rb", "a\x00b"])
def test_no_option_of_slurm_ends_its_line(key: str, value: str) -> None:
    """What followed a line break in it would be run by the shell of every job."""
    group, _, name = key.partition(".")
    given = {group: {name: value} if name else value}
    with pytest.raises(ConfigError) as caught:
        slurm_options(given)
    said = ascii(f"hydra.launcher.{key}={value}")
    assert f"{said} holds a line break or another control character" in str(caught.value)
    if name:
        with pytest.raises(ConfigError, match="holds a line break"):
            slurm_options({group: {value: 1}})
    slurm_options({"constraint": "a100&nvlink", "sbatch": {"comment": "über Nacht", "nice": 10}})


@pytest.mark.parametrize(("given", "check"), [({}, "refuse"), ({"code": "warn"}, "warn")])
def test_workers_of_this_machine_look_at_the_code(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], check: str
) -> None:
    """One that replaces another imports whatever lies on the disk by then."""
    seen: list[Any] = []
    monkeypatch.setattr(local, "run_at_once", lambda *arguments: seen.extend(arguments) or [])
    launcher = LocalLauncher(workers=1, gpus=0, **given)
    launcher.run(SimpleNamespace(sweep=None), [])  # type: ignore[arg-type]
    assert seen[-1] == check


def test_a_trial_whose_values_do_not_fit_together_ends_no_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")

    def launch(jobs: list[list[str]], number: int) -> list[Any]:
        if number in refused:
            raise ConfigError("together they may not be above 1.")
        return [SimpleNamespace(return_value=number)]

    launcher: Any = SimpleNamespace(name="batch", launch=launch)
    monkeypatch.setattr(search, "LAUNCHED", [Sweep(tmp_path)])
    monkeypatch.setattr(search, "_value", lambda job, state, settings: float(state))
    settings = settings_of({**SEARCH, "trials": 4})
    given, nothing = ["units.budgets.scu=interval(0.05,0.99)"], None
    refused = {1, 2}
    best = search.search(settings, given, launcher, nothing)  # type: ignore[arg-type]
    trials = json.loads((tmp_path / "search.json").read_text())["trials"]
    assert [trial["value"] for trial in trials] == [0.0, None, None, 3.0]
    assert best["job"] == 3
    write, refused = search._write, set()
    calls = iter(range(9))

    def now_and_then(trials: list[Any], settings: Any) -> Any:
        if next(calls) == 1:
            raise StoreError("full")
        return write(trials, settings)

    monkeypatch.setattr(search, "_write", now_and_then)
    assert search.search(settings, given, launcher, nothing)["job"] == 3  # type: ignore[arg-type]
    refused = {0}
    with pytest.raises(ConfigError, match="above 1"):
        search.search(settings, given, launcher, nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "trainer", "lacking"),
    [
        ({}, {"devices": 2}, ["hydra.launcher.cpus=1 gives its processes no core each"]),
        ({"cpus": 2, "gpus": 1}, {"devices": 2}, ["launcher.gpus=1 gives its processes no GPU"]),
        ({"gpus": 1}, {"devices": 2}, ["no core each", "no GPU each"]),
        ({"cpus": 2}, {"devices": 2}, []),
        ({"cpus": 8, "gpus": 8}, {"devices": 8}, []),
        ({}, {"num_nodes": 2}, ["trainer.num_nodes=2: a job of a sweep has one node."]),
        ({}, {}, []),
    ],
)
def test_a_job_gets_what_its_processes_need(
    given: dict[str, int], trainer: dict[str, int], lacking: list[str]
) -> None:
    said = list(slurm_options(given).lacking(TrainerConfig(**trainer)))
    assert len(said) == len(lacking)
    assert all(part in text for part, text in zip(lacking, said, strict=True))


def test_a_sweep_whose_jobs_do_not_fit_is_refused_before_anything_is_submitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    place = ["hydra/launcher=slurm", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert main(["run", "-m", *place, "trainer.devices=2", "trainer.strategy=ddp", "seed=0,1"]) == 2
    said = capsys.readouterr().err
    assert "Job 0 (" in said
    assert "Job 1 (" in said
    assert "hydra.launcher.cpus=1 gives its processes no core each" in said
    assert not (tmp_path / "sweep").exists()


def test_right_ones_pass() -> None:
    assert local_options({"workers": 2, "gpus": None}).workers == 2
    given = {"memory_gb": 8, "setup": ["export A=${B}"], "sbatch": {"exclude": 7}, "partition": 3}
    options = slurm_options(given)
    assert options.setup == ["export A=${B}"]
    others = {"gres": "gpu:a100:1", "mem-per-cpu": "4G", "dependency": "afterok:7", "nice": 10}
    assert slurm_options({"sbatch": others}).sbatch == others
    assert settings_of({**SEARCH, "seed": 3}).seed == 3

"""A search by Optuna: ask it for values, run the job, tell it what the job's record says.

Sweep overrides span the space: ``KEY=interval(0.005,0.1)``, ``KEY=tag(log,interval(0.005,0.1))``,
``KEY=int(interval(16,128))`` (Hydra makes plain ends decimal), ``KEY=range(1,9)`` and
``KEY=choice(a,b)``. What is optimised is a metric of one arm of the record.
Jobs share cached stages, so a search over thresholds costs no more than its evaluations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
)
from hydra.plugins.launcher import Launcher

from ssah_exp.config.ranges import at_least, choice, refuse
from ssah_exp.errors import ConfigError, StoreError, did_you_mean
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import readable_record
from ssah_exp.storage import write_atomically
from ssah_exp.sweeps.given import options_of
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.launching import LAUNCHED, tell
from ssah_exp.sweeps.state import DONE, JobState
from ssah_exp.sweeps.status import record_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIRECTIONS = ("minimize", "maximize")


@dataclass(frozen=True)
class SearchSettings:
    """What is searched for.

    Attributes:
        metric: Name of a metric as records have it, e.g. ``asr/mean/wei2024``.
        arm: Name of the arm that it is read from, e.g. ``SCU/pooled``.
        direction: ``minimize`` or ``maximize``.
        trials: Jobs to run.
        seed: Seed of the sampler.
    """

    metric: str
    arm: str
    direction: str = "maximize"
    trials: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values no search could use.

        Raises:
            ConfigError: Lists every problem.
        """
        problems = [
            *choice("hydra.sweeper.direction", self.direction, DIRECTIONS),
            *at_least("hydra.sweeper.trials", self.trials, 1),
            *at_least("hydra.sweeper.seed", self.seed, 0),
        ]
        refuse(problems)


def settings_of(given: Mapping[str, Any]) -> SearchSettings:
    """Settings from the sweeper's config.

    Raises:
        ConfigError: Unknown or missing settings, or values out of range.
    """
    refuse(
        f"hydra.sweeper.{name} is missing; give it as hydra.sweeper.{name}=NAME."
        for name in ("metric", "arm")
        if not given.get(name)
    )
    return options_of(SearchSettings, given, "hydra.sweeper")


def search(
    settings: SearchSettings, arguments: list[str], launcher: Launcher, loader: ConfigLoader
) -> dict[str, Any]:
    """Run the search; return the best trial, which is also written beside the sweep's plan.

    Raises:
        ConfigError: Nothing to search over, a launcher that does not wait for its jobs, no Optuna,
            or an arm or metric that no record has.
        StoreError: No trial came to a value, or the sweep's folder cannot be written.
    """
    if getattr(launcher, "name", None) != "batch":
        raise ConfigError(
            "A search looks at each result before it asks for the next job: it needs "
            "hydra/launcher=batch (inside one Slurm job if the jobs are long)."
        )
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("Optuna is missing: pip install 'ssah-exp[optuna]'") from error
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    fixed = [item.input_line or "" for item in overrides if not item.is_sweep_override()]
    space = _space(overrides)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction=optuna.study.StudyDirection[settings.direction.upper()],
        sampler=optuna.samplers.TPESampler(seed=settings.seed),
    )
    for number in range(settings.trials):
        trial = study.ask(space)
        job = [*fixed, *(f"{key}={value}" for key, value in trial.params.items())]
        try:
            (returned,) = launcher.launch([job], number)
        except ConfigError as error:
            if number == 0:  # nothing was written yet: the search itself may be mistyped
                raise
            tell(f"trial {number} is none: {error}")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        value = _value(LAUNCHED[-1].job(number), returned.return_value, settings)
        failed = optuna.trial.TrialState.FAIL if value is None else None
        study.tell(trial, value, state=failed)
        with suppress(StoreError):  # a disk that is full for a while must not end a search
            _write(study.trials, settings)
    LAUNCHED[-1].none_follow()  # its trials can be run again, even if none has a value
    return _best(study.trials, settings)


def _space(overrides: list[Override]) -> dict[str, BaseDistribution]:
    """Key -> the values to search over.

    Raises:
        ConfigError: There is nothing to search over.
    """
    space = {
        item.get_key_element(): _distribution(item)
        for item in overrides
        if item.is_sweep_override()
    }
    if not space:
        raise ConfigError("Nothing to search over; give KEY=interval(LOW,HIGH) or KEY=choice(A,B).")
    return space


def _distribution(override: Override) -> BaseDistribution:
    """The values Optuna may choose from.

    Raises:
        ConfigError: It is no space of values, or an interval that has none.
    """
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value, key = override.value(), override.get_key_element()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        log = "log" in value.tags
        try:
            if isinstance(value.start, int) and isinstance(value.end, int):
                return IntDistribution(value.start, value.end, log=log)
            return FloatDistribution(float(value.start), float(value.end), log=log)
        except ValueError as error:  # its ends are the wrong way round, or have no logarithm
            raise ConfigError(f"{key}: {error}") from error
    if isinstance(value, ChoiceSweep | RangeSweep):
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    raise ConfigError(f"{key}: a search takes interval(...), range(...) or choice(...).")


def _value(job: Job, state: JobState, settings: SearchSettings) -> float | None:
    """The metric of a finished job; None if it failed or the metric was not measured."""
    if state.status != DONE:
        return None
    path = record_of(job, state)
    record = None if path is None else readable_record(path)
    return None if record is None else _metric(record, settings)


def _metric(record: RunRecord, settings: SearchSettings) -> float | None:
    arms = {arm.name: arm for arm in record.arms}
    if settings.arm not in arms:
        where = f"hydra.sweeper.arm={settings.arm}"
        raise ConfigError(f"{where}: no such arm.{did_you_mean(settings.arm, arms)}")
    metrics = arms[settings.arm].metrics
    if settings.metric not in metrics:
        where = f"hydra.sweeper.metric={settings.metric}"
        raise ConfigError(f"{where}: no such metric.{did_you_mean(settings.metric, metrics)}")
    return metrics[settings.metric].value


def _write(trials: list[Any], settings: SearchSettings) -> tuple[Path, list[dict[str, Any]]]:
    """Write all trials down, which is done after each: a search that is ended early keeps them."""
    told = [
        {"job": trial.number, "overrides": trial.params, "value": _finite(trial.value)}
        for trial in trials
    ]
    path = LAUNCHED[-1].folder / "search.json"
    content = {"settings": vars(settings), "trials": told}
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False))
    return path, told


def _finite(value: float | None) -> float | None:
    """A value that JSON has; a perplexity that overflowed is none, and no best one."""
    return value if value is not None and math.isfinite(value) else None


def _best(trials: list[Any], settings: SearchSettings) -> dict[str, Any]:
    """Return the best trial, and print it.

    Raises:
        StoreError: No trial has a value.
    """
    path, told = _write(trials, settings)
    valued = [item for item in told if item["value"] is not None]
    if not valued:
        raise StoreError(f"No trial of the search came to a value; see {path}.")
    pick = max if settings.direction == "maximize" else min
    best = pick(valued, key=lambda item: float(item["value"]))
    values = " ".join(f"{key}={value}" for key, value in best["overrides"].items())
    tell(f"best of {len(valued)}: job {best['job']}  {settings.metric} {best['value']:g}  {values}")
    return best

"""From the overrides Hydra hands a launcher to frozen jobs in a sweep's folder."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import filter_overrides
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ssah_exp.config.command_line import key_of
from ssah_exp.config.compose import parse
from ssah_exp.config.facts import class_of
from ssah_exp.config.foreign_hydra import refuse_foreign_job
from ssah_exp.config.ranges import refuse
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.unread import refuse_unread
from ssah_exp.errors import ConfigError
from ssah_exp.storage import check_place
from ssah_exp.sweeps.code import code_state
from ssah_exp.sweeps.folder import Sweep, open_sweep
from ssah_exp.sweeps.given import options_of
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.local import LocalOptions
from ssah_exp.sweeps.slurm import SlurmOptions

# What follows ``ssah-exp run``, for launchers, which Hydra makes.
GIVEN: list[str] = []
# Sweeps this process launched, in order: Hydra returns no result of a multirun to its caller.
LAUNCHED: list[Sweep] = []

_AT_ONCE = ("GridSweeper", "BasicSweeper", "ListSweeper")  # launch all of their jobs together


class Launch:
    """One sweep being launched.

    Args:
        loader: Composes the config of a job.
        config: The sweep's config, Hydra's part included.
        launcher: ``batch``, ``local`` or ``slurm``.
        options: The launcher's options.

    Raises:
        StoreError: The sweep's folder cannot be written.
    """

    def __init__(
        self, loader: ConfigLoader, config: DictConfig, launcher: str, options: dict[str, Any]
    ) -> None:
        self._loader = loader
        self._config = config
        self._launcher = launcher
        self._options = options
        self._sweep: Sweep | None = None
        self._folder = Path(str(config.hydra.sweep.dir)).expanduser()
        there = self._folder.exists()
        check_place(self._folder)  # Hydra's own sweeper writes there first
        if not there:
            self._folder.rmdir()  # a sweep refused before its first job leaves no folder
        self._jobs = 0

    @property
    def sweep(self) -> Sweep:
        """The sweep, whose folder is made when first needed."""
        if self._sweep is None:
            options = _plain_values(self._options)
            self._sweep = open_sweep(self._folder, self._launcher, options, code_state())
            LAUNCHED.append(self._sweep)
            tell(f"sweep {self._sweep.name}  {self._sweep.folder}")
        return self._sweep

    def freeze(self, overrides: Sequence[Sequence[str]], first: int) -> list[Job]:
        """Compose, check and write down a batch of jobs.

        Args:
            overrides: The overrides of each job.
            first: Number of the first job.

        Raises:
            ConfigError: There is no job, or some are wrong, which it lists; nothing was written.
            StoreError: The disk is full or not writable.
        """
        if not overrides:
            raise ConfigError("The sweep has no jobs: a range or a pattern in it holds nothing.")
        configs: list[RunConfig] = []
        problems: list[str] = []
        for number, given in enumerate(overrides, start=first):
            try:
                configs.append(self._compose(given))
            except ConfigError as error:
                problems.append(f"Job {number} ({' '.join(given)}): {error}")
        refuse(problems)
        refuse_unread(list(zip(configs, map(filter_overrides, overrides), strict=True)))
        self._jobs += len(configs)
        self.sweep.expect(self._jobs + _more_follow(self._config.hydra.sweeper, len(configs)))
        jobs = [
            self.sweep.freeze(number, filter_overrides(given), config)
            for number, (given, config) in enumerate(zip(overrides, configs, strict=True), first)
        ]
        if any(job.cancelled for job in jobs):  # by somebody who saw only the first of them
            for job in jobs:
                job.cancel()
        return jobs

    def _compose(self, overrides: Sequence[str]) -> RunConfig:
        composed = copy.deepcopy(self._loader.load_sweep_config(self._config, list(overrides)))
        refuse_list(composed.hydra.sweeper, overrides)
        with read_write(composed), open_dict(composed):
            refuse_foreign_job(composed, composed.pop("hydra").job.env_set, GIVEN)
        config = parse(composed)
        if self._launcher == "slurm":
            refuse(slurm_options(self._options).lacking(config.trainer))
        return config


def _more_follow(sweeper: Mapping[str, Any], jobs: int) -> bool:
    """Whether a sweeper may launch more jobs after these: in a search, or after a full batch."""
    if class_of(sweeper) not in _AT_ONCE:
        return True
    most = sweeper.get("max_batch_size")
    return most is not None and jobs >= most


def refuse_list(sweeper: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse a job that is a list of jobs: it would silently run the defaults, not the list.

    Args:
        sweeper: ``hydra.sweeper`` of the job's config.
        overrides: What the job was composed from; the jobs of a list do not get the ones that
            chose the list.

    Raises:
        ConfigError: It is one; the message says how to run it.
    """
    keys = {key_of(word) for word in overrides}
    chosen = [key for key in sweeper.get("instead_of") or () if key in keys]
    if sweeper.get("jobs") and chosen:
        raise ConfigError(
            f"What {', '.join(chosen)} chose is a list of jobs; run it with: ssah-exp run -m, as "
            "the only value of its key, since a list cannot be a part of another sweep."
        )


def slurm_options(given: Mapping[str, Any]) -> SlurmOptions:
    """The options of a Slurm sweep from a config or a plan.

    Raises:
        ConfigError: Unknown options, or values no cluster could use.
    """
    return options_of(SlurmOptions, _plain_values(given), "hydra.launcher")


def local_options(given: Mapping[str, Any]) -> LocalOptions:
    """The options of a sweep of several processes on this machine, from a config or a plan.

    Raises:
        ConfigError: Unknown options, or values no machine could use.
    """
    return options_of(LocalOptions, _plain_values(given), "hydra.launcher")


def tell(line: str) -> None:
    """Print a line on standard error for the person who launched the sweep."""
    print(line, file=sys.stderr, flush=True)


def _plain_values(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in given.items()}


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

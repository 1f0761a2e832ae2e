"""A launched sweep's options, some of them set anew: jobs are frozen, what runs them is not."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from ssah_exp.config.ranges import refuse
from ssah_exp.errors import ConfigError
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.launching import local_options, slurm_options
from ssah_exp.sweeps.local import LocalOptions, here
from ssah_exp.sweeps.slurm import SlurmOptions

WHERE = "hydra.launcher"
HOW = f"--set {WHERE}.KEY=VALUE"


def retuned(options: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A copy of a launcher's options with some set anew.

    Args:
        options: As the sweep's plan holds them.
        words: Overrides in Hydra's grammar: ``hydra.launcher.KEY=VALUE``, or with ``+`` in front,
            as at the launch; ``~hydra.launcher.KEY`` takes one back to its default.

    Raises:
        ConfigError: No such override, one of a job's config, or one of several values.
    """
    new = copy.deepcopy(dict(options))
    for word in words:
        override = _parsed(word)
        *above, last = override.key_or_group.split(".")[2:]
        place: Any = new
        for key in above:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {word}: {WHERE}.{key} has no keys below it.")
        if override.is_delete():
            place.pop(last, None)
        else:
            place[last] = override.value()
    return new


def _parsed(word: str) -> Override:
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise ConfigError(f"--set {word} is no override; give {HOW}.") from error
    if not override.key_or_group.startswith(f"{WHERE}.") or override.package is not None:
        raise ConfigError(
            f"--set {word}: the jobs are frozen, only options of the launcher can change; "
            f"give {HOW}."
        )
    if override.is_sweep_override():
        raise ConfigError(f"--set {word}: give one value.")
    return override


def checked_launcher(
    launcher: str, options: Mapping[str, Any], jobs: Sequence[Job]
) -> SlurmOptions | LocalOptions | None:
    """A launcher's options, checked as at the launch; None = all jobs run in this process.

    Args:
        launcher: ``batch``, ``local`` or ``slurm``.
        options: Its options.
        jobs: What is to run with them.

    Raises:
        ConfigError: Lists what is wrong with them, and says how to give others.
    """
    if launcher not in ("slurm", "local"):
        refuse(f"Launcher '{launcher}' takes no {WHERE}.{key}." for key in options)
        return None
    try:
        if launcher == "slurm":
            return _enough(slurm_options(options), jobs)
        here(found := local_options(options))
        return found
    except ConfigError as error:
        hint = f"For other options, here and in later retries, add {HOW}."
        raise ConfigError(f"{error}\n{hint}") from error


def _enough(options: SlurmOptions, jobs: Sequence[Job]) -> SlurmOptions:
    """The options, if they give each job what it needs.

    Raises:
        ConfigError: They do not.
    """
    problems = []
    for job in jobs:
        try:
            trainer = job.config().trainer
        except ConfigError:  # this version does not accept it any more: it fails by itself
            continue
        problems += [f"Job {job.number}: {text}" for text in options.lacking(trainer)]
    refuse(problems)
    return options

"""What somebody else's config folder may not do: have things imported, trusted or looked up.

Hydra makes objects out of its own part of a config, too: callbacks, loggers, launchers. The command
line speaks for the person who runs it, and may name any; a file below ``--config-dir`` may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ssah_exp.config.command_line import key_of, keys_given
from ssah_exp.config.compose import conf_dir, plain_of
from ssah_exp.config.interpolations import looked_up
from ssah_exp.config.plugins import targets_in
from ssah_exp.config.ranges import refuse

# Parts that name what is imported in ways of their own: ``_target_``, ``class``, ``()``.
_SHUT = ("callbacks", "job_logging", "hydra_logging")
_PLUGGED = ("launcher", "sweeper")
# Of the launcher: what goes before each job, and what may set any variable (``export``).
_SHELL = {"setup": "shell lines", "sbatch": "options of sbatch"}
_PLUGS = ("hydra_plugins.", "hydra._internal.core_plugins.", "optuna.")
_UNCOMPOSED = (HydraException, OmegaConfBaseException)
_TRUST = "model.trust_remote_code"
_SAY = "a config file outside the shipped ones may not; give it on the command line"
_SAID_AGAIN = "hydra.job.override_dirname"  # the command line in other words, whatever files say
# All others might decide what runs (PATH, PYTHONPATH, CXX) or who is asked (HF_ENDPOINT).
_HARMLESS = re.compile(
    r"(OMP|MKL|OPENBLAS)_NUM_THREADS|TOKENIZERS_PARALLELISM|CUDA_VISIBLE_DEVICES"
)


def refuse_foreign_hydra(words: Sequence[str]) -> None:
    """Refuse files outside the shipped ``conf/`` that import something or read the environment.

    A variable of the environment may be a key of somebody's; in the config it would be printed,
    kept in the record and sent to a tracker.

    Without ``--config-dir``, ``--config-path`` and ``hydra.searchpath`` there are no such files,
    and nothing is composed to look for them. What cannot be composed is left for Hydra to refuse.

    Args:
        words: What follows ``ssah-exp run``.

    Raises:
        ConfigError: A file changes Hydra's callbacks or loggers, names a launcher or sweeper that
            is neither in a plug-in of Hydra's nor in Optuna, gives the launcher shell lines or
            options of sbatch, sets an environment variable other than those that number threads
            and cards, reads one by ``${oc.env:NAME}``, has a model's code trusted, or says what
            the command line was.
    """
    if not _elsewhere(words):
        return
    try:
        found = _whole(words)
    except _UNCOMPOSED:
        return
    plain = _without_files(tuple(words))
    lines = found["hydra"]["overrides"]
    problems = [
        *_problems(found["hydra"], plain["hydra"]),
        *_of_job(found, found["hydra"]["job"]["env_set"], plain, words),
    ]
    if sorted([*lines["hydra"], *lines["task"]]) != sorted(_given(words)):
        problems.append(f"hydra.overrides is changed: {_SAY}.")
    refuse([*problems, *_read(found, plain, words)])


def refuse_foreign_job(
    job: DictConfig, environment: Mapping[str, Any], words: Sequence[str]
) -> None:
    """As :func:`refuse_foreign_hydra`, for one job: a sweep's values may choose files, too.

    Args:
        job: Its config without Hydra's part.
        environment: ``hydra.job.env_set`` of that part.
        words: What follows ``ssah-exp run``.

    Raises:
        ConfigError: A file sets an environment variable or reads one, or has a model's code
            trusted.
    """
    if _elsewhere(words):
        found, plain = plain_of(job, resolve=False), _without_files(tuple(words))
        variables = plain_of(DictConfig(environment), resolve=False)
        refuse([*_of_job(found, variables, plain, words), *_read(found, plain, words)])


def _elsewhere(words: Sequence[str]) -> bool:
    """Whether files outside the shipped ``conf/`` take part."""
    arguments = get_args_parser().parse_args(list(words))
    searched = any("hydra.searchpath" in word for word in arguments.overrides)
    return bool(arguments.config_dir or arguments.config_path or searched)


def _given(words: Sequence[str]) -> list[str]:
    """The overrides among what follows ``ssah-exp run``."""
    given: list[str] = get_args_parser().parse_args(list(words)).overrides
    return given


@cache
def _without_files(words: tuple[str, ...]) -> dict[str, Any]:
    """What the shipped files and the command line's words for Hydra alone make.

    A key that the files bring is added, since its value is the command line's. Words that choose
    among files (a launcher of theirs) are left out: what they choose is looked at as the files'.
    """
    own = [word for word in _given(words) if key_of(word).startswith("hydra")]
    own = [word for word in own if "searchpath" not in word]
    try:
        return _whole(own)
    except _UNCOMPOSED:
        pass
    kept: list[str] = []
    plain = _whole(kept)
    for word in own:
        for way in (word, f"++{word.lstrip('+')}"):
            try:
                plain = _whole([*kept, way])
            except _UNCOMPOSED:
                continue
            kept.append(way)
            break
    return plain


def _problems(found: dict[str, Any], plain: dict[str, Any]) -> Iterator[str]:
    for key in _SHUT:
        if found[key] != plain[key]:
            yield f"hydra.{key} is changed: {_SAY}."
    for key in _PLUGGED:
        for target in targets_in(found[key]):
            if not target.startswith(_PLUGS) and target not in set(targets_in(plain[key])):
                yield f"hydra.{key} names {target}: {_SAY}."
    for key, what in _SHELL.items():
        if (lines := found["launcher"].get(key)) and lines != plain["launcher"].get(key):
            yield f"hydra.launcher.{key} holds {what}: {_SAY}."


def _of_job(
    found: dict[str, Any], variables: dict[str, Any], plain: dict[str, Any], words: Sequence[str]
) -> Iterator[str]:
    """Complain about variables that a job's files set, and code that they have trusted."""
    known = plain["hydra"]["job"]["env_set"]
    for name, value in variables.items():
        if not _HARMLESS.fullmatch(name) and known.get(name) != value:
            yield f"hydra.job.env_set sets {name}: {_SAY}."
    group, key = _TRUST.split(".")
    model = found.get(group)
    trusts = isinstance(model, Mapping) and model.get(key, False) is not False
    if trusts and not any(_TRUST in keys_given(word) for word in _given(words)):
        yield f"{_TRUST} has the model's code run: {_SAY}: {_TRUST}=true."


def _read(found: dict[str, Any], plain: dict[str, Any], words: Sequence[str]) -> Iterator[str]:
    """Complain about what neither a shipped file nor the command line would look up."""
    said = "\n".join(words)
    shipped = {text for _, text, _ in looked_up(plain)}
    for key, text, resolver in looked_up(found):
        if text not in shipped and text not in said and key != _SAID_AGAIN:
            yield (
                f"{key}={text} calls {resolver}: a config file outside the shipped ones may not, "
                f"since the value would enter the record; give it on the command line: {key}=VALUE."
            )


def _whole(words: Sequence[str]) -> dict[str, Any]:
    """The config as Hydra would compose it, not resolved, with its own part."""
    arguments = get_args_parser().parse_args(list(words))
    search = create_config_search_path(str(Path(arguments.config_path or conf_dir()).absolute()))
    if arguments.config_dir:
        folder = Path(arguments.config_dir).absolute()
        search.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    made = ConfigLoaderImpl(search).load_configuration(
        arguments.config_name or "config",
        arguments.overrides,
        RunMode.MULTIRUN if arguments.multirun else RunMode.RUN,
        validate_sweep_overrides=False,
    )
    return plain_of(made, resolve=False)

"""What somebody else's config folder may not do: have things imported, trusted or looked up.

Hydra makes objects out of its own part of a config, too: callbacks, loggers, launchers. The command
line speaks for the person who runs it, and may name any; a file below ``--config-dir`` may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from ssah_exp.config.compose import conf_dir, plain_of
from ssah_exp.config.interpolations import looked_up
from ssah_exp.config.plugins import targets_in
from ssah_exp.config.ranges import refuse

# Parts that name what is imported in ways of their own: ``_target_``, ``class``, ``()``.
_SHUT = ("callbacks", "job_logging", "hydra_logging")
_PLUGGED = ("launcher", "sweeper")
# Of the launcher: lines that the shell runs before each job.
_SHELL = "setup"
_PLUGS = ("hydra_plugins.", "hydra._internal.core_plugins.", "optuna.")
_UNCOMPOSED = (HydraException, OmegaConfBaseException)
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
            is neither in a plug-in of Hydra's nor in Optuna, gives the launcher shell lines,
            sets an environment variable other than those that number threads and cards, or reads
            one by ``${oc.env:NAME}``.
    """
    arguments = get_args_parser().parse_args(list(words))
    elsewhere = any("hydra.searchpath" in word for word in arguments.overrides)
    if not (arguments.config_dir or arguments.config_path or elsewhere):
        return
    own = [word for word in arguments.overrides if word.lstrip("+~").startswith("hydra")]
    try:
        found = _whole(words)
    except _UNCOMPOSED:
        return
    plain = _without_files([word for word in own if "searchpath" not in word])
    said = "\n".join(words)
    refuse([*_problems(found["hydra"], plain["hydra"]), *_read(found, plain, said)])


def _without_files(own: list[str]) -> dict[str, Any]:
    """What the shipped files and the command line alone make.

    A key that the files bring is added, since its value is the command line's. Words that choose
    among files (a launcher of theirs) are left out: what they choose is looked at as the files'.
    """
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
    say = "a config file outside the shipped ones may not; give it on the command line"
    for key in _SHUT:
        if found[key] != plain[key]:
            yield f"hydra.{key} is changed: {say}."
    for key in _PLUGGED:
        for target in targets_in(found[key]):
            if not target.startswith(_PLUGS) and target not in set(targets_in(plain[key])):
                yield f"hydra.{key} names {target}: {say}."
    if (lines := found["launcher"].get(_SHELL)) and lines != plain["launcher"].get(_SHELL):
        yield f"hydra.launcher.{_SHELL} holds shell lines: {say}."
    for name, value in found["job"]["env_set"].items():
        if not _HARMLESS.fullmatch(name) and plain["job"]["env_set"].get(name) != value:
            yield f"hydra.job.env_set sets {name}: {say}."


def _read(found: dict[str, Any], plain: dict[str, Any], said: str) -> Iterator[str]:
    """Complain about what neither a shipped file nor the command line would look up."""
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

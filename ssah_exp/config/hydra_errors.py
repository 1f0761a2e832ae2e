"""What is wrong with overrides that Hydra refuses: what was given, and what is allowed."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from ssah_exp.config.command_line import config_folders
from ssah_exp.config.compose import conf_dir, first_lines
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.schema_keys import deepest, keys_below, unknown_key
from ssah_exp.errors import ConfigError, SsahWarning, did_you_mean

# Groups whose options need a place in the config -> what to write in front of ``=OPTION``.
_PLACES = {
    "adapter": "+adapter@training.arms.ARM.adapter",
    "attack": "+attack@evaluation.attacks.NAME",
    "judge": "+judge@evaluation.judges.NAME",
    "selector": "+selector@training.arms.ARM.select=OPTION, or +selector@ablation.sets.NAME",
    "size": "experiment=paper_smollm2 size",
}


def refuse_mistakes(words: Sequence[str]) -> None:
    """Refuse what Hydra would answer with a traceback; warn of a key with two values.

    Args:
        words: What follows ``ssah-exp run``.

    Raises:
        ConfigError: A word without a key (``=1``), a group without an option (``units=null`` or
            ``units=``), or a key with dashes (``--experiment quickstart``, which Hydra takes for
            ``--experimental-rerun``).
    """
    folders = config_folders(words)
    groups = _groups(folders)
    keys = {*groups, *keys_below(RunConfig)}
    for word, behind in pairwise([*words, ""]):
        key, sign, value = word.partition("=")
        if word.startswith(("=", "@")):
            raise ConfigError(f"{word} names no key; give KEY=VALUE.")
        if sign and value.lower() in ("null", "") and key in groups:
            allowed = ", ".join(sorted(_options(key, folders)))
            raise ConfigError(f"{word} names no option. Allowed: {allowed}.")
        bare = key.lstrip("-")
        if key != bare and bare.partition(".")[0] in keys:
            given = value if sign else behind or "VALUE"
            raise ConfigError(f"{key} is no option of run; give it as {bare}={given}.")
    _warn_of_second_values(words)


def _warn_of_second_values(words: Sequence[str]) -> None:
    """Say which value counts where a key has several: Hydra takes the last without a word.

    No error: a script that ends in ``"$@"`` replaces its own values so.
    """
    given: dict[str, str] = {}
    for word in words:
        key, sign, value = word.lstrip("+").partition("=")
        if not sign or key.startswith(("-", "~")):
            continue
        if (before := given.get(key, value)) != value:
            warnings.warn(
                f"{key}={value} replaces {key}={before}; -m {key}={before},{value} runs both.",
                SsahWarning,
                stacklevel=4,
            )
        given[key] = value


def explain_hydra_error(error: Exception, words: Sequence[str] = ()) -> str:
    """Say what was given, what is allowed and the nearest match for a Hydra composition error.

    Args:
        error: What Hydra or OmegaConf raised.
        words: What follows ``ssah-exp run``; its ``--config-dir`` may hold options, too.
    """
    folders = config_folders(words)
    text = first_lines(error)
    if isinstance(error, OverrideParseException):
        return _no_override(error.override, text)
    several = re.match(
        r"(?:Ambiguous value for argument|Sweep parameters) '(?P<key>[^=]+)=(?P<values>.*)'", text
    )
    if several:
        return _several(several["key"], several["values"], _groups(folders))
    twice = re.search(r"Multiple values for (?P<key>[^ ]+)\. To override", text)
    if twice:
        return f"{twice['key']} has a value already; give {twice['key']}=NAME without a '+'."
    option = re.search(r"Could not find '(?P<group>[^']+)/(?P<name>[^'/]+)'", text)
    if option:
        group, name = option["group"], option["name"]
        return f"Unknown {group} '{name}'.{did_you_mean(name, _options(group, folders))}"
    found = re.search(r"Could not override '(?P<key>[^']+)'", text)
    if not found:
        return text
    key = found["key"]
    if "defaults list" in text or "default list" in text:
        return _not_in_defaults(key, _groups(folders))
    return _of_hydra(key) or _unknown_path(key, text)


def _not_in_defaults(key: str, groups: Sequence[str]) -> str:
    """Explain a group that is unknown, needs a place, or has no option to replace at this one."""
    group, _, place = key.partition("@")
    if place and group in groups:
        return f"No {group} is at {place} to be exchanged; give +{key}=OPTION to add one."
    if group in _PLACES:
        return f"'{group}' needs a place: give {_PLACES[group]}=OPTION."
    return f"No config group '{key}'.{did_you_mean(key, groups)}"


def _several(key: str, values: str, groups: Sequence[str]) -> str:
    """Explain values of a sweep in a run that is none; a group has one option, never a list."""
    swept = f"{key}={values} has several values: 'ssah-exp run -m' runs each"
    if key in groups or "(" in values:
        return f"{swept}."
    return f"{swept}; a list is given as '{key}=[{values}]'."


def _no_override(override: str, text: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith(("Error parsing", "See "))]
    why = re.sub(r" expecting \{.*\}", "", " ".join(lines))  # a list of the grammar's own names
    why = re.sub(r"LexerNoViableAltException: .*", "it has a character that must be quoted", why)
    key, sign, value = override.partition("=")
    text = _unquoted(value)
    signs = re.search(r"[^\w.,:/ \[\]\"-]", text)  # such as <|end|> or {column}
    word = shlex.quote('{}="{}"'.format(key, text.replace('"', r"\"")))
    quoted = f" Put a value with special characters in both quotes: {word}."
    return (
        f"'{override}' is no override: {why}. Give KEY=VALUE without spaces, values of "
        "-m as KEY=A,B, and quote what the shell would take apart: 'KEY=[A,B]'."
        f"{quoted if sign and signs else ''}"
    )


def _unquoted(value: str) -> str:
    """A value without the quotes around it, which its own may have ended too early."""
    whole = re.fullmatch(r"""(?P<quote>['"])(?P<text>.*)(?P=quote)""", value, flags=re.DOTALL)
    return whole["text"] if whole else value


def _of_hydra(key: str) -> str | None:
    """What to say of a key below ``hydra.``, e.g. which launcher has it; None for other keys."""
    found = re.fullmatch(r"hydra\.(launcher|sweeper)\.(\w+)", key)
    if found is None:
        if key.startswith("hydra.launcher.sbatch."):
            return f"Give +{key}=VALUE for an option of sbatch."
        return f"Hydra has no option '{key}'." if key.startswith("hydra.") else None
    group, name = f"hydra/{found[1]}", found[2]
    has = {choice: _keys(group, choice) for choice in sorted(_options(group, [conf_dir()]))}
    owners = [f"{group}={choice}" for choice, keys in has.items() if name in keys]
    if owners:
        return f"{key} is an option of {' and '.join(owners)}, which must be given, too."
    return f"Unknown key '{key}'.{did_you_mean(name, set().union(*has.values()))}"


def _keys(group: str, choice: str) -> set[str]:
    content = OmegaConf.load(conf_dir() / group / f"{choice}.yaml")
    return {str(key) for key in content if str(key) != "_target_"}


def _groups(folders: Sequence[Path]) -> list[str]:
    return [path.name for folder in folders for path in folder.glob("*") if path.is_dir()]


def _options(group: str, folders: Sequence[Path]) -> list[str]:
    return [path.stem for folder in folders for path in (folder / group).glob("[!_]*.yaml")]


def _unknown_path(dotted: str, text: str) -> str:
    if unknown := unknown_key(dotted):
        return f"Unknown key {unknown}"
    _, _, is_last = deepest(dotted)
    if is_last:  # no file of the group in use names it
        return f"{dotted} is at its default; give +{dotted}=VALUE to set it."
    # Below here a node's _target_ decides which keys there are; that is checked later.
    adding = text.partition("To append to your config use ")[2] or f"+{dotted}=VALUE"
    return f"The config has no '{dotted}'; if it is an option there, add it by {adding}"

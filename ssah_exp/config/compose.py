"""From a composed Hydra config to a validated :class:`RunConfig`, and the errors in between."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssah_exp.config.schema import RunConfig
from ssah_exp.config.validate import validate
from ssah_exp.errors import ConfigError, did_you_mean

# Groups whose options are put at a place of their own -> what to write in front of ``=OPTION``.
_PLACES = {
    "adapter": "+adapter@training.arms.ARM.adapter",
    "attack": "+attack@evaluation.attacks.NAME",
    "judge": "+judge@evaluation.judges.NAME",
    "selector": "+selector@training.arms.ARM.select",
    "size": "experiment=paper_smollm2 size",
}


def conf_dir() -> Path:
    """Folder of the Hydra groups: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise ConfigError(f"No conf/ folder beside {package}; the installation is incomplete.")


def refuse_empty_groups(overrides: Sequence[str]) -> None:
    """Say which options a group has where an override names none; Hydra would print a traceback.

    Raises:
        ConfigError: ``units=null``, or ``units=`` without anything.
    """
    for override in overrides:
        group, _, option = override.partition("=")
        if option.lower() in ("null", "") and "=" in override and group in _groups():
            allowed = ", ".join(sorted(_options(group)))
            raise ConfigError(f"{override} names no option. Allowed: {allowed}.")


def parse(composed: DictConfig) -> RunConfig:
    """Merge a composed config into the schema and check it.

    Raises:
        ConfigError: Unknown keys, wrong types, missing values or values out of range.
    """
    content = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(content, dict)
    problems = [*_unknown_keys(content, RunConfig, ""), *_missing_values(content, "")]
    if problems:
        raise ConfigError("\n".join(problems))
    try:
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), composed)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(_first_lines(error)) from error
    assert isinstance(config, RunConfig)
    validate(config)
    return config


def _unknown_keys(content: dict[Any, Any], schema: type, prefix: str) -> list[str]:
    """Describe every key of ``content`` that the dataclass ``schema`` does not have."""
    known = {item.name: item for item in fields(schema)}
    problems: list[str] = []
    for key, value in content.items():
        if key not in known:
            problems.append(f"Unknown key '{prefix}{key}'.{did_you_mean(str(key), known)}")
            continue
        factory = known[key].default_factory
        if isinstance(value, dict) and isinstance(factory, type) and is_dataclass(factory):
            problems += _unknown_keys(value, factory, f"{prefix}{key}.")
    return problems


def _missing_values(value: Any, where: str) -> Iterator[str]:
    """Describe every ``???``; merging into the schema would put the field's default there."""
    if value == MISSING:
        yield f"{where} is missing; give it as {where}=VALUE."
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _missing_values(item, f"{where}.{key}" if where else str(key))


def _first_lines(error: BaseException) -> str:
    """The message of an OmegaConf or Hydra error without its stack of internal names."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not re.match(r"\s*(reference_type|object_type)=", line)]
    return "\n".join(kept)


def explain_hydra_error(error: Exception) -> str:
    """Say what was given, what is allowed and the nearest match for a Hydra composition error."""
    text = _first_lines(error)
    option = re.search(r"Could not find '(?P<group>[^']+)/(?P<name>[^'/]+)'", text)
    if option:
        return _unknown_option(option["group"], option["name"])
    found = re.search(r"Could not override '(?P<key>[^']+)'", text)
    if not found:
        return text
    key = found["key"]
    if "defaults list" in text or "default list" in text:
        return _not_in_defaults(key)
    return _unknown_path(key, text)


def _not_in_defaults(key: str) -> str:
    """An option of a group that is at no such place, or has none until it is told one."""
    group, _, place = key.partition("@")
    if place and group in _groups():
        return f"No {group} is at {place} to be exchanged; give +{key}=OPTION to add one."
    if group in _PLACES:
        return f"'{group}' needs a place: give {_PLACES[group]}=OPTION."
    return f"No config group '{key}'.{did_you_mean(key, _groups())}"


def _groups() -> list[str]:
    return [path.name for path in conf_dir().iterdir() if path.is_dir()]


def _options(group: str) -> list[str]:
    return [path.stem for path in (conf_dir() / group).glob("[!_]*.yaml")]


def _unknown_option(group: str, name: str) -> str:
    return f"Unknown {group} '{name}'.{did_you_mean(name, _options(group))}"


def _unknown_path(dotted: str, text: str) -> str:
    schema: Any = RunConfig
    *parents, leaf = dotted.split(".")
    for part in parents:
        known = {item.name: item.default_factory for item in fields(schema)}
        schema = known.get(part)
        if not (isinstance(schema, type) and is_dataclass(schema)):
            return text
    names = [item.name for item in fields(schema)]
    return f"Unknown key '{dotted}'.{did_you_mean(leaf, names)}"

"""From a composed Hydra config to a validated :class:`RunConfig`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssah_exp.config.ranges import refuse
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.schema_keys import keys_below
from ssah_exp.config.validate import validate
from ssah_exp.errors import ConfigError, did_you_mean

# What OmegaConf calls a type -> what a value of it is.
_TYPES = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "a text"}
_WRONG_TYPE = re.compile(
    r"could not be converted to (Float|Int)|is not a valid (bool)|'None' for field of type '(\w+)'"
)


def conf_dir() -> Path:
    """Folder of the Hydra groups: inside an installed package, or beside it in a checkout.

    Raises:
        ConfigError: There is none.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise ConfigError(f"No conf/ folder beside {package}; the installation is incomplete.")


def parse(composed: DictConfig) -> RunConfig:
    """Merge a composed config into the schema and check it.

    Raises:
        ConfigError: Unknown keys, wrong types, missing values or values out of range.
    """
    content = plain_of(composed, resolve=False)
    refuse([*_unknown_keys(content, RunConfig, ""), *_missing_values(content, "")])
    try:
        merged = OmegaConf.merge(_schema(), composed)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(_of_wrong_type(error, composed) or first_lines(error)) from error
    assert isinstance(config, RunConfig)
    validate(config)
    return config


def plain_of(config: DictConfig, *, resolve: bool) -> dict[str, Any]:
    """A config's values as plain Python's, interpolations resolved or as they stand."""
    content = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


@cache
def _schema() -> DictConfig:
    """The schema as a config, made once: a grid parses thousands of configs. Merging copies it."""
    schema: DictConfig = OmegaConf.structured(RunConfig)
    return schema


def parse_plain(content: Any) -> RunConfig:
    """Like :func:`parse`, for a config that is composed and resolved: its texts are literal.

    Raises:
        ConfigError: As in :func:`parse`.
    """
    composed = OmegaConf.create(_escaped(content))
    assert isinstance(composed, DictConfig)
    return parse(composed)


def _escaped(value: Any) -> Any:
    """Escape every ``${`` once more: in a resolved text it is one that somebody escaped."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    return value


def _unknown_keys(content: dict[Any, Any], schema: type, prefix: str) -> Iterator[str]:
    """Describe every key of ``content`` that the dataclass ``schema`` does not have."""
    known = keys_below(schema)
    for key, value in content.items():
        if key not in known:
            yield f"Unknown key '{prefix}{key}'.{did_you_mean(str(key), known)}"
        elif isinstance(value, dict) and (below := known[key]) is not None:
            yield from _unknown_keys(value, below, f"{prefix}{key}.")


def _missing_values(value: Any, where: str) -> Iterator[str]:
    """Describe every ``???``, where merging into the schema would put the field's default."""
    if value == MISSING:
        yield f"{where} is missing; give it as {where}=VALUE."
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _missing_values(item, f"{where}.{key}" if where else str(key))


def _of_wrong_type(error: OmegaConfBaseException, composed: DictConfig) -> str | None:
    """Which value is no list, number or truth value, if OmegaConf's error says so; else None."""
    key, text = str(error.full_key), str(error)
    value = OmegaConf.select(composed, key)
    if "is not a ListConfig" in text:
        return f"{key}={value} is no list; give it in brackets: '{key}=[{value}]'."
    found = _WRONG_TYPE.search(text)
    wanted = _TYPES.get((found[1] or found[2] or found[3]).lower()) if found else None
    return f"{key}={'null' if value is None else value} is not {wanted}." if wanted else None


def first_lines(error: BaseException) -> str:
    """The message of an OmegaConf or Hydra error without its stack of internal names."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not re.match(r"\s*(reference_type|object_type)=", line)]
    return "\n".join(kept)

"""Building objects from ``_target_`` nodes: this package and an allow-list, nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate

from ssah_exp.config.kinds import fits, hints_of, wanted
from ssah_exp.config.ranges import refuse
from ssah_exp.errors import ConfigError, SsahError, did_you_mean

ALLOWED_PREFIXES = ("ssah_exp.", "torch.optim.")


def build(node: Mapping[str, Any], where: str) -> Any:
    """Instantiate ``node`` after checking the targets and arguments of it and all below it.

    Args:
        node: A mapping with ``_target_`` and constructor arguments.
        where: The config key, for error messages.

    Raises:
        ConfigError: No target, a target outside the allow-list, arguments it does not take, or
            of another kind: to Python the text "no" is as true as ``true``.
    """
    if "_target_" not in node:
        raise ConfigError(f"{where} has no _target_.")
    problems = list(_problems(node, where))
    refuse(problems)
    try:
        return instantiate(dict(node), _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, SsahError):
            raise error.__cause__ from error
        raise ConfigError(f"{where}: {error.__cause__ or error}") from error


def _problems(value: Any, where: str) -> Iterator[str]:
    """Everything wrong with a node and the nodes nested in it."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _problems(item, f"{where}.{index}")
    if not isinstance(value, Mapping):
        return
    if "_target_" not in value:  # Hydra looks for targets below plain mappings, too
        for key, item in value.items():
            yield from _problems(item, f"{where}.{key}")
        return
    try:
        found, parameters = _target(str(value["_target_"]), where)
    except ConfigError as refused:
        yield str(refused)
        return
    given = {str(key): item for key, item in value.items() if key != "_target_"}
    hints = hints_of(found)
    for key, item in given.items():
        if key not in parameters:
            yield f"Unknown key '{where}.{key}'.{did_you_mean(key, parameters)}"
        elif key in hints and not fits(item, hints[key]):
            yield f"{where}.{key}={item} is not {wanted(item, hints[key])}."
        yield from _problems(item, f"{where}.{key}")
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in given:
            yield f"{where}.{name} is missing."


def _target(name: str, where: str) -> tuple[type, Mapping[str, inspect.Parameter]]:
    """The class of a node, and what it takes.

    Raises:
        ConfigError: It is outside the allow-list, or no class.
    """
    refusal = (
        f"{where}._target_={name} is not allowed: targets start with "
        f"{' or '.join(ALLOWED_PREFIXES)}"
    )
    if not name.startswith(ALLOWED_PREFIXES):
        raise ConfigError(refusal)
    try:
        found = get_class(name)
        parameters = inspect.signature(found).parameters
    except Exception as error:  # an import may fail in any way
        raise ConfigError(f"{where}._target_={name} is not a class: {error}") from error
    if not f"{found.__module__}.".startswith(ALLOWED_PREFIXES):  # reached through an import
        raise ConfigError(f"{refusal}; this one is {found.__module__}.{found.__qualname__}")
    return found, parameters

"""Building objects from ``_target_`` nodes: this package, an allow-list and the user's plug-ins."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from inspect import Parameter
from typing import Any, TypeVar

from hydra.utils import get_class

from ssah_exp.config.kinds import fits, hints_of, wanted
from ssah_exp.config.plugins import VARIABLE, plugins
from ssah_exp.config.ranges import refuse
from ssah_exp.errors import ConfigError, SsahError, did_you_mean

ALLOWED_PREFIXES = ("ssah_exp.", "torch.optim.")
_OF_ANY_NUMBER = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
Made = TypeVar("Made")


def build(
    node: Mapping[str, Any],
    where: str,
    kind: type[Made] = object,  # type: ignore[assignment]
) -> Made:
    """Instantiate ``node`` after checking targets and arguments, its own and those nested in it.

    Args:
        node: A mapping with ``_target_`` and constructor arguments.
        where: The config key, for error messages.
        kind: What has to come out: a class, or a protocol that can be checked at run time.

    Raises:
        ConfigError: No target, one outside the allow-list, arguments that are missing, unknown or
            of another kind (to Python the text "no" is as true as ``true``), a constructor that
            fails, or a result that is no ``kind``.
        SsahError: A constructor raised it; the message says of which node, however deep.
    """
    if "_target_" not in node:
        raise ConfigError(f"{where} has no _target_.")
    refuse(_problems(node, where))
    made = _made(node, where)
    if not isinstance(made, kind):
        raise ConfigError(_no_such_kind(made, where, kind))
    return made


def _made(value: Any, where: str) -> Any:
    """The object of a node that has been checked, its parts first.

    Hydra's ``instantiate`` would resolve texts a second time: a file of somebody's that escapes
    ``${oc.env:NAME}`` would have it looked up here, past the check of what files may look up.
    """
    if isinstance(value, list):
        return [_made(item, f"{where}.{index}") for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    given = {key: item for key, item in value.items() if key != "_target_"}
    parts = {key: _made(item, f"{where}.{key}") for key, item in given.items()}
    return _constructed(str(value["_target_"]), parts, where) if "_target_" in value else parts


def _constructed(target: str, arguments: Mapping[str, Any], where: str) -> Any:
    try:
        return get_class(target)(**arguments)
    except SsahError as error:
        if where in str(error):
            raise
        # Of two selectors of one class it would not be known which is meant.
        error.args = (f"{where}: {error}",)
        raise
    except Exception as error:  # a constructor may fail in any way
        raise ConfigError(f"{where}: {error}") from error


def _no_such_kind(made: object, where: str, kind: type) -> str:
    """What ``made`` is instead of a ``kind``, and which members of a protocol it lacks."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()
    offered = [name for name in vars(kind) if not name.startswith("_")]
    lacking = [name for name in offered if not hasattr(made, name)]
    lacks = f", which has no {' or '.join(lacking)}" if lacking else ""
    return f"{where}._target_ is no {words}: {type(made).__name__}{lacks}."


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
    open_ended = any(item.kind is Parameter.VAR_KEYWORD for item in parameters.values())
    given = {str(key): item for key, item in value.items() if key != "_target_"}
    hints = hints_of(found)
    for key, item in given.items():
        if key not in parameters and not (open_ended and not key.startswith("_")):
            yield f"Unknown key '{where}.{key}'.{did_you_mean(key, parameters)}"
        elif key in hints and not fits(item, hints[key]):
            yield f"{where}.{key}={item} is not {wanted(item, hints[key])}."
        yield from _problems(item, f"{where}.{key}")
    for name, parameter in parameters.items():
        needed = parameter.default is Parameter.empty and parameter.kind not in _OF_ANY_NUMBER
        if needed and name not in given:
            yield f"{where}.{name} is missing."


def _target(name: str, where: str) -> tuple[type, Mapping[str, Parameter]]:
    """The class that a node names, and the parameters it takes.

    Raises:
        ConfigError: The name is outside the allow-list, or of no class.
    """
    allowed = (*ALLOWED_PREFIXES, *(f"{package}." for package in plugins()))
    refusal = (
        f"{where}._target_={name} is not allowed: targets start with {' or '.join(allowed)}; "
        f"{VARIABLE} in the environment names packages of yours"
    )
    if not name.startswith(allowed):
        raise ConfigError(refusal)
    try:
        found = get_class(name)
        parameters = inspect.signature(found).parameters
    except Exception as error:  # an import may fail in any way
        why = _no_such_name(name, allowed) or str(error)
        raise ConfigError(f"{where}._target_={name} is not a class: {why}") from error
    if not f"{found.__module__}.".startswith(allowed):  # reached through an import
        raise ConfigError(f"{refusal}; this one is {found.__module__}.{found.__qualname__}")
    return found, parameters


def _no_such_name(target: str, allowed: tuple[str, ...]) -> str:
    """Which classes the module of a target has instead; empty if it has that name or no module."""
    module, _, name = target.rpartition(".")
    held = vars(sys.modules[module]) if module in sys.modules else {}
    offered = held.get("__all__", held)  # what it only imports for itself is not its to offer
    classes = [
        key
        for key, item in held.items()
        if key in offered
        and isinstance(item, type)
        and not key.startswith("_")
        and not getattr(item, "_is_protocol", False)
        and not issubclass(item, Exception)
        and f"{item.__module__}.".startswith(allowed)
    ]
    if name in held or not classes:
        return ""
    return f"{module} has no '{name}'.{did_you_mean(name, classes)}"

"""Packages beside this one whose classes a config may name, and the hash of their code.

The person who runs a config says which packages (``SSAH_PLUGINS=mylab,other`` in the environment),
not the config: a file from elsewhere must not decide what is imported. What such a class does is
part of a result, so its package's hash enters run ids and the keys of stages that it takes part in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssah_exp.digest import digest_file, digest_folder, digest_of
from ssah_exp.errors import ConfigError

VARIABLE = "SSAH_PLUGINS"


def plugins() -> tuple[str, ...]:
    """Names of the packages that ``SSAH_PLUGINS`` lists, separated by commas.

    Raises:
        ConfigError: One is not a top-level package's name.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    given = tuple(dict.fromkeys(name for name in names if name))
    for name in given:
        if not name.isidentifier():
            raise ConfigError(
                f"{VARIABLE}: '{name}' is no name of a package; give top-level names, with commas "
                "between them."
            )
    return given


def plugin_code(content: Any) -> dict[str, str]:
    """``plugin.NAME`` -> sha256 of its code, for every plug-in that a part of a config names.

    Args:
        content: Mappings, lists and plain values; nodes with a ``_target_`` at any depth.

    Raises:
        ConfigError: See :func:`plugins` and :func:`package_code`.
    """
    known = plugins()
    named = {target.partition(".")[0] for target in targets_in(content)}
    return {f"plugin.{name}": package_code(name) for name in known if name in named}


def code_of(made: object) -> dict[str, str]:
    """Like :func:`plugin_code`, for an object that was built and those in its fields.

    Raises:
        ConfigError: See :func:`plugins` and :func:`package_code`.
    """
    known = plugins()
    within = set(_packages(made, known, set())) if known else set()
    return {f"plugin.{name}": package_code(name) for name in known if name in within}


def _packages(made: object, known: tuple[str, ...], seen: set[int]) -> Iterator[str]:
    """Top-level packages of the classes of an object and of what it holds, public fields only."""
    if id(made) in seen:
        return
    seen.add(id(made))
    if isinstance(made, Mapping | list | tuple):
        for item in made.values() if isinstance(made, Mapping) else made:
            yield from _packages(item, known, seen)
        return
    own = {parent.__module__.partition(".")[0] for parent in type(made).__mro__}
    yield from own
    if is_dataclass(made) or own & set(known):
        for name, item in getattr(made, "__dict__", {}).items():
            if not name.startswith("_"):
                yield from _packages(item, known, seen)


def targets_in(content: Any) -> Iterator[str]:
    """Every ``_target_`` in a part of a config, at any depth."""
    if isinstance(content, Mapping):
        if "_target_" in content:
            yield str(content["_target_"])
        for item in content.values():
            yield from targets_in(item)
    elif isinstance(content, list | tuple):
        for item in content:
            yield from targets_in(item)


@cache
def package_code(package: str) -> str:
    """sha256 over all files of a package, or over a module's only one.

    Computed once per process: what was imported stays what it was.

    Raises:
        ConfigError: The package cannot be found or read, or is part of Python itself.
    """
    try:
        spec = find_spec(package)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{VARIABLE}: '{package}' cannot be found: {error}") from error
    if spec is None:
        raise ConfigError(f"{VARIABLE}: there is no package '{package}' on Python's path.")
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    if not folders and not spec.has_location:
        raise ConfigError(f"{VARIABLE}: '{package}' is part of Python, and no package of yours.")
    try:
        if not folders:
            return digest_file(Path(str(spec.origin)))
        files: dict[str, str] = {}
        for folder in folders:
            files |= digest_folder(folder, without="__pycache__")
        return digest_of(files)
    except OSError as error:
        raise ConfigError(f"{VARIABLE}: '{package}' cannot be read: {error}") from error

"""Packages beside this one whose classes a config may name, and the hash of their code.

Who runs a config says which (``SSAH_PLUGINS=mylab,other`` in the environment), not the config: a
file from elsewhere must not decide what is imported. What such a class does is part of a result, so
the hash of its package enters run ids and the keys of the stages that it has a part in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssah_exp.digest import digest_file, digest_of
from ssah_exp.errors import ConfigError

VARIABLE = "SSAH_PLUGINS"


def plugins() -> tuple[str, ...]:
    """Names of the packages that ``SSAH_PLUGINS`` lists, between commas.

    Raises:
        ConfigError: One is no name of a package.
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
    """``plugin.NAME`` -> sha256 of its code, of every plug-in that a part of a config names.

    Args:
        content: Mappings, lists and plain values; nodes with a ``_target_`` at any depth.

    Raises:
        ConfigError: See :func:`plugins`.
    """
    known = plugins()
    named = {target.partition(".")[0] for target in _targets(content)}
    return {f"plugin.{name}": package_code(name) for name in known if name in named}


def code_of(made: object) -> dict[str, str]:
    """As :func:`plugin_code`, of an object that was built and of those in its fields.

    Raises:
        ConfigError: See :func:`plugins`.
    """
    known = plugins()
    within = set(_packages(made)) if known else set()
    return {f"plugin.{name}": package_code(name) for name in known if name in within}


def _packages(made: object) -> Iterator[str]:
    for parent in type(made).__mro__:
        yield parent.__module__.partition(".")[0]
    if is_dataclass(made):
        for item in fields(made):
            if not item.name.startswith("_"):
                yield from _packages(getattr(made, item.name))


def _targets(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        if "_target_" in content:
            yield str(content["_target_"])
        for item in content.values():
            yield from _targets(item)
    elif isinstance(content, list | tuple):
        for item in content:
            yield from _targets(item)


@cache
def package_code(package: str) -> str:
    """sha256 over all files of a package, or over a module's one, when it was first asked for.

    Not again in the same process: what was imported stays what it was.

    Raises:
        ConfigError: It cannot be found.
    """
    try:
        spec = find_spec(package)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{VARIABLE}: '{package}' cannot be found: {error}") from error
    if spec is None:
        raise ConfigError(f"{VARIABLE}: there is no package '{package}' on Python's path.")
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    if not folders:
        return digest_file(Path(str(spec.origin)))
    files = {
        path.relative_to(folder).as_posix(): path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    return digest_of({name: digest_file(path) for name, path in files.items()})

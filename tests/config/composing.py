"""Composing the shipped config in tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import MISSING, DictConfig, OmegaConf

from ssah_exp.config.compose import conf_dir, parse
from ssah_exp.config.schema import RunConfig


@cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def jobs_of(words: Sequence[str]) -> list[list[str]]:
    """The overrides of every job of a sweep, as Hydra's own sweeper takes it apart."""
    parsed = OverridesParser.create().parse_overrides([*words])
    jobs: list[list[str]] = next(iter(BasicSweeper.split_arguments(parsed, None)))
    return jobs


def composed(*overrides: str) -> DictConfig:
    """The composed config, before the schema looks at it; a copy of its own."""
    return copy.deepcopy(_composed(overrides))


@cache
def _config_of(overrides: tuple[str, ...]) -> RunConfig:
    content = composed(*overrides)
    for key in missing(OmegaConf.to_container(content)):
        OmegaConf.update(content, key, "given")
    return parse(content)


def config_of(*overrides: str) -> RunConfig:
    """A validated config of its own; what only a user knows (``???``) is filled in."""
    return copy.deepcopy(_config_of(overrides))


def put(config: RunConfig | dict[str, Any], dotted: str, value: object) -> None:
    """Set one value by its dotted name; an attribute must be there."""
    *parents, leaf = dotted.split(".")
    node: object = config
    for name in parents:
        node = node[name] if isinstance(node, dict) else getattr(node, name)
    if isinstance(node, dict):
        node[leaf] = value
    else:
        assert hasattr(node, leaf)
        setattr(node, leaf, value)


def missing(value: object, where: str = "") -> Iterator[str]:
    """Dotted keys of every ``???``; OmegaConf's own list stops at interpolations of one."""
    if value == MISSING:
        yield where
    items = dict(enumerate(value)) if isinstance(value, list) else value
    for key, item in items.items() if isinstance(items, dict) else ():
        yield from missing(item, f"{where}.{key}" if where else str(key))


def options() -> list[tuple[str, str]]:
    """Every (group, option) that ``conf/`` ships; ``_shared.yaml`` and the like are no options."""
    root = conf_dir()
    files = sorted(path for path in root.rglob("*.yaml") if path.parent != root)
    return [
        (path.parent.relative_to(root).as_posix(), path.stem)
        for path in files
        if not path.name.startswith("_")
    ]


def names_of(group: str) -> list[str]:
    """The options of one group."""
    return [option for other, option in options() if other == group]


def group_folders() -> set[str]:
    """Every folder below ``conf/`` that holds YAML."""
    root = conf_dir()
    return {path.parent.relative_to(root).as_posix() for path in root.rglob("*.yaml")} - {"."}

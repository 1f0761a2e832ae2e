"""What follows ``ssah-exp run``: Hydra's options, and overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser

from ssah_exp.config.compose import conf_dir

_CONFIG_DIR = ("--config-dir", "-cd")


def overrides_first(words: Sequence[str]) -> list[str]:
    """The same words, options last: Hydra takes an option between overrides for their end."""
    overrides: list[str] = []
    options: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            overrides.append(word)
            continue
        options.append(word)
        if rest and _takes(word, rest[0]):
            options.append(rest.pop(0))
    return [*overrides, *options]


def _takes(option: str, value: str) -> bool:
    """Whether an option of Hydra's takes the word that follows it as its value."""
    actions = get_args_parser()._actions
    found = [item for item in actions if option in item.option_strings]
    if not found and option.startswith("--"):  # argparse accepts the beginning of a name
        found = [item for item in actions if any(n.startswith(option) for n in item.option_strings)]
    return any(item.nargs is None or value in (item.choices or ()) for item in found)


def config_folders(words: Sequence[str]) -> list[Path]:
    """Where config groups lie: the shipped ones, and those of ``--config-dir``."""
    folders = [conf_dir()]
    for at, word in enumerate(words):
        name, sign, value = word.partition("=")
        if name in _CONFIG_DIR and (sign or words[at + 1 :]):
            folders.append(Path(value if sign else words[at + 1]))
    return folders


def key_of(word: str) -> str:
    """The key of an override without the signs that add or remove it, its group and place whole."""
    return word.partition("=")[0].lstrip("+~")


def keys_given(word: str) -> Iterator[str]:
    """Dotted keys that an override gives a value to; for a mapping, each key inside it."""
    override = OverridesParser.create().parse_override(word)
    key = override.key_or_group
    yield from _below(key, None if override.is_delete() else override.value())


def _below(key: str, value: Any) -> Iterator[str]:
    """``key``, or, if its value is a mapping, the keys below it."""
    if not isinstance(value, Mapping) or not value:
        yield key
        return
    for name, item in value.items():
        yield from _below(f"{key}.{name}", item)

"""What follows ``ssah-exp run``: Hydra's options, and overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser

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

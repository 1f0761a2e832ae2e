"""Jobs from a list: a job per line of overrides, or several where the line is a grid."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from ssah_exp.config.command_line import key_of
from ssah_exp.errors import ConfigError

_WHERE = "hydra.sweeper"


def jobs_of(
    arguments: Sequence[str],
    file: str | None,
    lines: Sequence[str],
    instead_of: Collection[str] = (),
    shared: str = "",
) -> list[list[str]]:
    """The overrides of each job.

    Args:
        arguments: Overrides of the command line, for all jobs: they come first, and win over a
            line that sets the same key.
        file: Text file with one line per job or grid; None = only ``lines``.
        lines: More such lines.
        instead_of: Keys of arguments that chose this list; its lines take their place.
        shared: Overrides that all lines begin with; a line that sets the same key wins.

    Raises:
        ConfigError: No line at all, an unreadable file, or a line that is no override.
    """
    given = [*(_read(file) if file is not None else ()), *lines]
    try:
        split = [words for line in given if (words := shlex.split(line, comments=True))]
        first = shlex.split(shared, comments=True)
    except ValueError as error:
        raise ConfigError(f"{_WHERE}: a line cannot be read as a shell would: {error}") from error
    if not split:
        raise ConfigError(
            f"The list sweeper has no jobs; give {_WHERE}.file=FILE or {_WHERE}.jobs=['KEY=VALUE']."
        )
    common = [word for word in arguments if key_of(word) not in instead_of]
    taken = {key_of(word) for word in common}
    return [
        job
        for words in split
        for job in _grid(
            [*common, *_left(first, taken | set(map(key_of, words))), *_left(words, taken)]
        )
    ]


def _left(overrides: Sequence[str], taken: Collection[str]) -> list[str]:
    return [word for word in overrides if key_of(word) not in taken]


def _grid(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination of values, by Hydra's own sweeper."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise ConfigError(f"{_WHERE}: '{error.override}' is no override: {error}") from error
    return list(chain.from_iterable(BasicSweeper.split_arguments(parsed, None)))


def _read(file: str) -> list[str]:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"hydra.sweeper.file={file} cannot be read: {error}") from error

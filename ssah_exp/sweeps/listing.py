"""Jobs from a list: one line of overrides each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.errors import ConfigError


def jobs_of(arguments: Sequence[str], file: str | None, lines: Sequence[str]) -> list[list[str]]:
    """The overrides of each job: ``arguments``, then those of its line.

    Args:
        arguments: Given for all jobs.
        file: Text file with one job per line; None = only ``lines``.
        lines: More of them.

    Raises:
        ConfigError: No line at all, an unreadable file, or an argument that is a sweep itself.
    """
    where = "hydra.sweeper"
    given = [*(_read(file) if file is not None else ()), *lines]
    try:
        jobs = [words for line in given if (words := shlex.split(line, comments=True))]
    except ValueError as error:
        raise ConfigError(f"{where}: a line cannot be read as a shell would: {error}") from error
    if not jobs:
        raise ConfigError(
            f"The list sweeper has no jobs; give {where}.file=FILE or {where}.jobs=['KEY=VALUE']."
        )
    return [[*arguments, *job] for job in jobs]


def _read(file: str) -> list[str]:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"hydra.sweeper.file={file} cannot be read: {error}") from error

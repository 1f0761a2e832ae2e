"""Errors a user can act on: one message, exit code 2 (1: incomplete); warnings of one line."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# Exit code of one of a run's processes after an IncompleteError; 1 and 2 say that it failed.
INCOMPLETE_RANK = 3
ENDED = 143  # the exit code of a process that SIGTERM ended
# What moves a terminal's cursor or speaks to it, tabs and line ends apart; for str.translate.
CONTROLS = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\t"), ord("\n")})


class SsahError(Exception):
    """Something given, or a file on disk, is wrong; the message says what and what to do."""


class ConfigError(SsahError):
    """A key, a value or a combination of options that no run can use."""


class DataError(SsahError):
    """A data set that is missing, malformed, too small or overlaps another one."""


class ModelError(SsahError):
    """A model, tokenizer or architecture that cannot be used as asked."""


class UnitError(SsahError):
    """Scores, a UnitMap or an intervention that does not fit its model."""


class JudgeError(SsahError):
    """A judge that cannot work at all: an endpoint that is down or takes no question."""


class IncompleteError(SsahError):
    """Done, except for answers that judges failed on; the rest was written. Exit code 1."""


class StoreError(SsahError):
    """Records, cache entries, sweeps or output files that cannot be read or written."""


class RankError(SsahError):
    """One of several processes that worked on a run failed."""


class ClusterError(SsahError):
    """The scheduler is not there, does not answer or refuses a job."""


class TrackerError(SsahError):
    """A tracker that cannot be reached, refuses the key or cannot write its files."""


class SsahWarning(UserWarning):
    """What a person should know about work that goes on nevertheless."""


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print this package's warnings as sentences, without the line of code they come from."""
    usual = warnings.formatwarning

    def written(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if issubclass(category, SsahWarning):
            return f"ssah-exp: {printable(str(message))}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = written
    try:
        yield
    finally:
        warnings.formatwarning = usual


def printable(text: str) -> str:
    """Without control characters, which names out of other people's files may hold."""
    return text.translate(CONTROLS)


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'? Allowed: a, b, x."`` for an unknown name.

    Args:
        given: The name that was not found.
        allowed: Every name that would have been accepted.
    """
    names = sorted({str(name) or "''" for name in allowed})
    close = [name for name in names if name.casefold() == given.casefold()]
    close = close or difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"{hint} Allowed: {', '.join(names) if names else 'nothing'}."


def ending_behind(error: Exception) -> KeyboardInterrupt | SystemExit | None:
    """The Ctrl+C or SystemExit that an error hides; None = none.

    A library that tidies up after one may raise another error.
    """
    behind: BaseException | None = error
    seen: list[BaseException] = []  # causes may go round in a circle
    while behind is not None and behind not in seen:
        if isinstance(behind, KeyboardInterrupt | SystemExit):
            return behind
        seen.append(behind)
        behind = behind.__cause__ or behind.__context__
    return None

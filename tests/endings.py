"""Ctrl+C, or a worker's end, that comes while a library tidies up."""

from __future__ import annotations

from ssah_exp.errors import ConfigError


def half_done(before: BaseException, *, wrapped: bool = False) -> None:
    """As a library that fails over what it left half done; ``wrapped`` by us as an error."""
    try:
        try:
            raise before
        finally:
            raise AttributeError("half done")
    except AttributeError as error:
        if wrapped:
            raise ConfigError("cannot load") from error
        raise

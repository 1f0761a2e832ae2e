"""Many cases alike: ``make test`` takes every eighth, ``make test-exhaustive`` all the others."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from _pytest.mark import ParameterSet

EVERY = 8


def thinned(cases: Iterable[object]) -> list[ParameterSet]:
    """Cases for ``parametrize``: all but each eighth are marked. A tuple is several arguments."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=[] if number % EVERY == 0 else [pytest.mark.exhaustive],
        )
        for number, case in enumerate(cases)
    ]

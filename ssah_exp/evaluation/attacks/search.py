"""An attack over all requests: kept request by request, so that a killed search goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssah_exp.appended import AppendedLines
from ssah_exp.digest import digest_of
from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.attacks.base import Attack, Attempt
from ssah_exp.evaluation.attacks.request import Request
from ssah_exp.evaluation.attacks.victim import Victim

Rows = list[list[dict[str, Any]]]  # per request, its attempts


def search(
    attack: Attack,
    victim: Victim,
    requests: Sequence[Request],
    seed: int,
    path: Path,
    advance: Callable[[int], None] = lambda done: None,
) -> Rows:
    """Find attempts for every request.

    Args:
        attack: The method with its budget.
        victim: The model under attack.
        requests: In any order.
        seed: The run's seed.
        path: JSON lines of requests that are done; searches with other settings need another path.
        advance: Called with the number of requests just done.

    Returns:
        For each request in order, its attempts as JSON values.

    Raises:
        SsahError: The attack cannot work, or the disk is full or not writable.
    """
    kept = AppendedLines(path)
    known = {
        row["request"]: row["attempts"]
        for row in kept.read()
        if isinstance(row, dict) and {"request", "attempts"} <= row.keys()
    }
    found: Rows = []
    for request in requests:
        key = digest_of(request.as_dict())
        if key not in known:
            attempts = [asdict(item) for item in attack.attempts(victim, request, seed)]
            _check_count(attack, len(attempts), found)
            kept.append({"request": key, "attempts": attempts})
            known[key] = attempts
        found.append(known[key])
        advance(1)
    return found


def _check_count(attack: Attack, count: int, found: Rows) -> None:
    """Refuse what could not be counted request by request; of a plug-in, say.

    Raises:
        ConfigError: There is no attempt, or not as many as for the requests before.
    """
    wanted = len(found[0]) if found else max(count, 1)
    if count != wanted:
        raise ConfigError(
            f"Attack '{attack.name}' made {count} attempts on one request and has to make "
            f"{wanted}: at least one, and as many for every request."
        )


def attempts_of(rows: Rows) -> list[list[Attempt]]:
    """The attempts in what :func:`search` returned."""
    return [[Attempt(**row) for row in attempts] for attempts in rows]

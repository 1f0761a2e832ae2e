"""Arms timed side by side in rounds: whatever disturbs the machine affects all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import torch

from ssah_exp.models.sources import ModelRef
from ssah_exp.records.provenance import code_version, hardware, package_version

_PACKAGES = ("torch", "transformers")


def median_range(values: Sequence[float]) -> dict[str, Any] | None:
    """Median and range; None where nothing was measured."""
    if not values:
        return None
    return {
        "median": median(values),
        "low": min(values),
        "high": max(values),
        "values": list(values),
    }


def schedule(arms: Sequence[str], repeats: int) -> Iterator[tuple[int, str]]:
    """Every arm in every repeat, each time with another one first, so that none is always last."""
    for repeat in range(repeats):
        first = repeat % len(arms)
        for arm in [*arms[first:], *arms[:first]]:
            yield repeat, arm


def timed_rounds(
    arms: Mapping[str, Callable[[], object]],
    repeats: int,
    device: str,
    say: Callable[[str], None],
    *,
    threads: int = 0,
    warm: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every arm in every round, after a call of each that is not timed.

    Args:
        arms: What to time, by name.
        repeats: Rounds.
        device: ``cuda...`` is waited for before and after each call.
        say: Takes a line of progress.
        threads: Threads this process computes with, see :func:`clock_of`; 0 for arms that run in
            processes of their own.
        warm: Shorter calls to warm up with, by name; None = the arms themselves.

    Returns:
        Arm -> seconds, one for each round in order.
    """
    clock = clock_of(device, threads)
    for name, action in (arms if warm is None else warm).items():
        say(f"warming up: {name}")
        action()
    seconds: dict[str, list[float]] = {name: [0.0] * repeats for name in arms}
    for repeat, name in schedule(list(arms), repeats):
        say(f"round {repeat + 1} of {repeats}: {name}")
        seconds[name][repeat] = _timed(arms[name], device, clock)
    return seconds


def clock_name(device: str, threads: int) -> str:
    """``processor`` where one thread does all the work: other processes disturb its time little.

    Elsewhere ``wall``: waiting threads spin, and a GPU's time is not the processor's.
    """
    return "processor" if device == "cpu" and threads == 1 else "wall"


def clock_of(device: str, threads: int) -> Callable[[], float]:
    """The clock that :func:`clock_name` names, in seconds."""
    return time.process_time if clock_name(device, threads) == "processor" else time.perf_counter


def _timed(action: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    synchronise(torch.device(device))
    started = clock()
    action()
    synchronise(torch.device(device))
    return clock() - started


def synchronise(device: torch.device) -> None:
    """Wait for what a CUDA device still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratios(
    seconds: Mapping[str, Sequence[float]], pairs: Mapping[str, tuple[str, str]]
) -> dict[str, dict[str, Any] | None]:
    """Ratios of seconds, taken within a round.

    Args:
        seconds: Of each arm, by round.
        pairs: Name of a ratio -> the arms above and below the line.
    """
    return {
        name: median_range([a / b for a, b in zip(seconds[above], seconds[below], strict=True)])
        for name, (above, below) in pairs.items()
    }


def measured(
    seconds: Mapping[str, Sequence[float]], tokens: int, pairs: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """What a report says of arms that go through the same tokens.

    Args:
        seconds: Of each arm, by round.
        tokens: That each arm goes through in a round.
        pairs: See :func:`ratios`.
    """
    speeds = {arm: [tokens / value for value in values] for arm, values in seconds.items()}
    return {
        "seconds": {arm: median_range(values) for arm, values in seconds.items()},
        "tokens_per_second": {arm: median_range(values) for arm, values in speeds.items()},
        "ratios": ratios(seconds, pairs),
    }


def about(bench: str, settings: Mapping[str, Any], ref: ModelRef | None) -> dict[str, Any]:
    """What every report begins with: machine, versions, settings, model."""
    return {**without_machine(bench, settings, ref), "machine": hardware()}


def without_machine(
    bench: str, settings: Mapping[str, Any], ref: ModelRef | None
) -> dict[str, Any]:
    """:func:`about` where nothing depends on the machine."""
    return {
        "bench": bench,
        "versions": {
            "code": code_version(),
            "packages": {name: package_version(name) for name in _PACKAGES},
            "cuda": torch.version.cuda,
        },
        "settings": dict(settings),
        "model": _described(ref),
    }


def _described(ref: ModelRef | None) -> dict[str, Any]:
    """Which weights were used; no ``ref`` = random ones."""
    if ref is None:
        return {"weights": "random", "identifier": None, "revision": None}
    return {"weights": "loaded", "identifier": ref.identifier, "revision": ref.revision}

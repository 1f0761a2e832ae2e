"""`ssah-exp bench train`: the arms side by side in interleaved repeats, medians, ratios."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from ssah_exp.bench.arm import time_alone
from ssah_exp.bench.models import locate
from ssah_exp.bench.proof import summed_up
from ssah_exp.bench.rounds import about, clock_name, median_range, schedule
from ssah_exp.bench.settings import CERTIFIED, BenchSettings

TRAINING_RATIOS = (("compact", "full"), ("masked", "full"), ("freeze", "full"))
COMPILED_RATIOS = (("compiled compact", "compiled full"), ("compiled full", "full"))
_REPEATED = ("tokens_per_second", "peak_memory")
# Imported once, by the process that the arms' processes are forked from.
_PRELOADED = [time_alone.__module__, "transformers.models.llama.modeling_llama"]


def bench_train(settings: BenchSettings, root: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure every arm ``settings.repeats`` times and compare them.

    Args:
        settings: What to train and how.
        root: Where the embedded model is cached.
        say: Takes a line of progress.

    Returns:
        Machine, versions, settings, arms, ratios and the cost of the compact arm's certificate, as
        plain JSON values. An arm that failed in any repeat (out of memory, killed, or not to be
        compiled here) has that as its status, and nulls if no repeat of it finished.

    Raises:
        SsahError: The model cannot be loaded, or the share is too small for a single unit.
    """
    ref = locate(settings.model, root)
    pairs = (*TRAINING_RATIOS, *(COMPILED_RATIOS if settings.compile else ()))
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in settings.arms}
    for repeat, arm in schedule(list(runs), settings.repeats):
        say(f"repeat {repeat + 1} of {settings.repeats}: {arm}")
        runs[arm].append(isolated(settings, ref.location if ref else None, arm))
    return {
        **about("train", asdict(settings), ref),
        "clock": clock_name(settings.device, settings.threads),
        "arms": {arm: _summary(found) for arm, found in runs.items()},
        "ratios": {f"{a}/{b}": _ratios(runs[a], runs[b]) for a, b in pairs},
        "certificate": _certificate(runs[CERTIFIED], settings),
        "arithmetic_limit": {
            "plain": arithmetic_limit(settings.share, checkpointing=False),
            "checkpointing": arithmetic_limit(settings.share, checkpointing=True),
        },
    }


def isolated(settings: BenchSettings, location: str | None, arm: str) -> dict[str, Any]:
    """Measure an arm in a process of its own, in which nothing ran before.

    No arm then inherits memory from the one before, be it an allocator's or a failed attempt's.

    Returns:
        What :func:`time_alone` returned; ``status`` is ``killed`` if the process was ended.
    """
    try:
        with ProcessPoolExecutor(1, mp_context=_context()) as pool:
            return pool.submit(time_alone, settings, location, arm).result()
    except BrokenProcessPool:  # the kernel ended it; as a rule because memory ran out
        return {"status": "killed"}


def _context() -> Any:
    """Fork, where the system can, from a server process that imported everything and ran nothing.

    This process must not be forked: it may have started threads of OpenMP, autograd or CUDA.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One arm over its repeats; what does not vary is taken from one of them."""
    done = [item for item in found if item["status"] == "done"]
    failed = [item["status"] for item in found if item["status"] != "done"]
    first = done[0] if done else {}
    fixed = (
        "parameters",
        "unit_parameters",
        "trained_parameters",
        "peak_memory_source",
        "static_memory",
        "loss",
    )
    return {
        "status": failed[0] if failed else "done",
        **{name: median_range([item[name] for item in done]) for name in _REPEATED},
        **{name: first.get(name) for name in fixed},
    }


def _certificate(found: Sequence[dict[str, Any]], settings: BenchSettings) -> dict[str, Any] | None:
    """What the proof costs beside the steps of its arm."""
    done = [item for item in found if item["status"] == "done"]
    if not done:
        return None
    speed = median(item["tokens_per_second"] for item in done)
    return summed_up(
        [item["certificate"] for item in done], settings.batch * settings.length / speed
    )


def _ratios(
    these: Sequence[dict[str, Any]], those: Sequence[dict[str, Any]]
) -> dict[str, dict[str, Any] | None]:
    """Ratios within each repeat, where both arms finished."""
    both = [
        (a, b)
        for a, b in zip(these, those, strict=True)
        if a["status"] == "done" and b["status"] == "done"
    ]
    ratios = {
        name: median_range([a[name] / b[name] for a, b in both if b[name] > 0])
        for name in _REPEATED
    }
    static = [a["static_memory"]["total"] / b["static_memory"]["total"] for a, b in both]
    return {**ratios, "static_memory": median_range(static)}


def arithmetic_limit(share: float, *, checkpointing: bool) -> float:
    """How many times faster than full training a step can be at most, by matrix products alone.

    Forward pass, gradient of the inputs and gradient of the weights cost the same; the last is
    needed for the trained share only. Checkpointing adds a forward pass. Attention scores, the
    vocabulary matrix and the optimizer are not in the sum, so a measured ratio can lie above it:
    full training alone computes gradients of that matrix and steps all weights.
    """
    forward = 2 if checkpointing else 1
    return (forward + 2) / (forward + 1 + share)

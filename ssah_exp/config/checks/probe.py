"""Range checks of the reasoning-direction probe."""

from __future__ import annotations

from collections.abc import Iterable

from ssah_exp.config.checks.judges import too_short
from ssah_exp.config.ranges import at_least, choice, choices, within
from ssah_exp.config.schema import ProbeConfig, RunConfig
from ssah_exp.config.vocabulary import STYLES

DISTANCES = ("cosine", "angular", "l2")
CONTINUATIONS = ("own", "bare")


def probe_problems(config: RunConfig) -> Iterable[str]:
    """What is wrong with the settings of a probe's run."""
    probe = config.probe
    yield from choice("probe.style", probe.style, STYLES)
    yield from choices("probe.distances", probe.distances, DISTANCES)
    yield from choice("probe.continuation", probe.continuation, CONTINUATIONS)
    yield from at_least("probe.folds", probe.folds, 2)
    yield from at_least("probe.shuffles", probe.shuffles, 1)
    yield from within("probe.strength", probe.strength, 0, 1e6, open_low=True)
    yield from at_least("probe.smoothing", probe.smoothing, 1)
    if probe.smoothing % 2 == 0:
        yield f"probe.smoothing={probe.smoothing} is even; a centred average needs an odd number."
    yield from _steps(probe.steps)
    yield from _openings(probe)
    yield from _ignored(config)
    name = config.evaluation.primary_judge
    if probe.steps:
        judge = config.evaluation.judges.get(name, {})
        yield from too_short(name, judge, "the last of probe.steps", max(probe.steps))


def _ignored(config: RunConfig) -> Iterable[str]:
    """Complain about measures of whole answers; the probe sees the first tokens' hidden states."""
    if config.utility.tasks:
        yield "utility.tasks would have no effect: the probe runs no harness tasks."
    if config.mt_bench.judge is not None:
        yield "mt_bench.judge would have no effect: the probe runs no MT-bench."
    if config.evaluation.engine != "transformers":
        yield (
            f"evaluation.engine={config.evaluation.engine} gives no hidden states; the probe needs "
            "transformers."
        )


def _steps(steps: list[int]) -> Iterable[str]:
    if not steps:
        yield "probe.steps is empty."
    if steps != sorted(set(steps)):
        yield f"probe.steps={steps} must rise from one to the next."
    for step in steps:
        yield from at_least("probe.steps", step, 1)


def _openings(probe: ProbeConfig) -> Iterable[str]:
    for key, texts in (("benign", probe.benign), ("malicious", probe.malicious)):
        if not texts:
            yield f"probe.{key} is empty; give at least one opening."
        if not all(text.strip() for text in texts):
            yield f"probe.{key} holds a blank opening."
    texts = [*probe.benign, *probe.malicious]
    repeated = sorted({text for text in texts if texts.count(text) > 1})
    if repeated:
        yield f"probe.benign and probe.malicious name one opening twice: {', '.join(repeated)}."

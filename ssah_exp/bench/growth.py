"""`ssah-exp bench growth`: how time and memory grow with tokens, layers, width and thresholds.

Along each axis one size grows and the others stay; random weights, random tokens. Exponents are
slopes of straight lines through logarithms (:mod:`ssah_exp.bench.fits`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ssah_exp.bench.fits import power_law
from ssah_exp.bench.identify import state_bytes
from ssah_exp.bench.memory import PeakMeter, settle
from ssah_exp.bench.models import random_llama
from ssah_exp.bench.rounds import (
    about,
    clock_name,
    clock_of,
    median_range,
    synchronise,
    timed_rounds,
)
from ssah_exp.bench.settings import PlaceSettings
from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.data.loaders import Batch
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.logits import hidden_states
from ssah_exp.models.sizes import Anatomy, Kind
from ssah_exp.units.classes import classify
from ssah_exp.units.collect import Sink, StatisticsCollector, captured_inputs
from ssah_exp.units.index import UnitIndex

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IDENTIFICATION, CLASSIFICATION = "identification", "classification"


@dataclass(frozen=True)
class Size:
    """One point of a curve.

    Attributes:
        tokens: Calibration tokens, all counted, in sequences of ``length``, at most 8 to a batch.
        layers: Blocks.
        width: Of the residual stream. Heads have 32 channels, for classification 128.
        thresholds: Number of SCU budgets to classify with.
    """

    tokens: int = 512
    layers: int = 4
    width: int = 256
    thresholds: int = 8

    length = 64
    vocabulary = 512

    @property
    def neurons(self) -> int:
        """MLP neurons per block, as Llama has them: about 8 / 3 of the width."""
        return 32 * round(self.width * 8 / 3 / 32)


# Axis -> its values. At smaller widths the fixed cost of each module would flatten the curve.
IDENTIFIED: dict[str, tuple[int, ...]] = {
    "tokens": (256, 512, 1024, 2048, 4096),
    "layers": (2, 4, 8, 16, 32),
    "width": (128, 256, 512, 768, 1024),
}
CLASSIFIED: dict[str, tuple[int, ...]] = {
    "layers": (16, 32, 48, 64, 80),
    "width": (1024, 2048, 4096, 6144, 8192),
    "thresholds": (4, 8, 16, 32, 64),
}
# Classification starts at the sizes of real models, since it needs no weights.
_SCORED = Size(layers=16, width=1024, thresholds=4)
WHAT = {
    IDENTIFICATION: ("bare_seconds", "seconds", "extra_seconds", "peak_memory", "state_bytes"),
    CLASSIFICATION: ("seconds", "peak_memory"),
}


def bench_growth(settings: PlaceSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all curves.

    Args:
        settings: Where, and how many rounds.
        say: Takes a line of progress.

    Returns:
        Plain JSON values: ``curves`` by task and axis, each with its points and, for each thing
        measured, exponent and 95 % interval.
    """
    torch.set_num_threads(settings.threads)
    curves: dict[str, dict[str, Any]] = {}
    for task, axes, start, measure in (
        (IDENTIFICATION, IDENTIFIED, Size(), _identification),
        (CLASSIFICATION, CLASSIFIED, _SCORED, _classification),
    ):
        curves[task] = {}
        for axis, values in axes.items():
            points = [
                {**_sizes(size), **measure(size, settings, say)}
                for size in (replace(start, **{axis: value}) for value in values)
            ]
            curves[task][axis] = {"points": points, "exponents": _fits(axis, points, WHAT[task])}
    return {
        **about("growth", asdict(settings), None),
        "clock": clock_name(settings.device, settings.threads),
        "curves": curves,
    }


def _sizes(size: Size) -> dict[str, int]:
    return {**asdict(size), "neurons": size.neurons, "length": size.length}


def _fits(axis: str, points: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        values = [item[name] for item in points]
        middle = [item["median"] if isinstance(item, dict) else item for item in values]
        found[name] = power_law([item[axis] for item in points], middle)
    return found


def _identification(
    size: Size, settings: PlaceSettings, say: Callable[[str], None]
) -> dict[str, Any]:
    device = torch.device(settings.device)
    model = _model(size, settings)
    batches = list(_batches(size, settings.seed, device))

    def bare() -> None:
        for batch in batches:
            hidden_states(model, batch.input_ids, batch.attention_mask)

    inside = _Stopwatch(clock_of(settings.device, settings.threads), device)

    def statistics() -> None:
        collector = StatisticsCollector(size.layers)
        inside.begin()
        with captured_inputs(model, inside.timed(collector.sink)):
            for batch in batches:
                collector.begin(batch)
                hidden_states(model, batch.input_ids, batch.attention_mask)
        collector.result()

    say(f"{IDENTIFICATION}: {size.tokens} tokens, {size.layers} layers, width {size.width}")
    arms = {"bare": bare, "statistics": statistics}
    with torch.inference_mode():
        peak = _peak(statistics, device)
        seconds = timed_rounds(
            arms, settings.repeats, settings.device, _quiet, threads=settings.threads
        )
    return {
        "bare_seconds": median_range(seconds["bare"]),
        "seconds": median_range(seconds["statistics"]),
        "extra_seconds": median_range(inside.seconds[-settings.repeats :]),
        "peak_memory": peak,
        "state_bytes": state_bytes(model),
        "channels": size.layers * (size.width + size.neurons),
        "block_parameters": sum(
            item.numel() for name, item in model.named_parameters() if "_proj" in name
        ),
    }


class _Stopwatch:
    """Seconds inside hooks, one sum per pass; the difference of two passes would be noise."""

    def __init__(self, clock: Callable[[], float], device: torch.device) -> None:
        self._clock, self._device = clock, device
        self.seconds: list[float] = []

    def begin(self) -> None:
        """Start a new pass."""
        self.seconds.append(0.0)

    def timed(self, sink: Sink) -> Sink:
        """Wrap a sink so that its time is counted."""

        def hand_over(kind: Kind, layer: int, activations: torch.Tensor) -> None:
            synchronise(self._device)
            started = self._clock()
            sink(kind, layer, activations)
            synchronise(self._device)
            self.seconds[-1] += self._clock() - started

        return hand_over


def _model(size: Size, settings: PlaceSettings) -> PreTrainedModel:
    sizes = {
        "vocab_size": size.vocabulary,
        "hidden_size": size.width,
        "intermediate_size": size.neurons,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.width // 32,
    }
    device = torch.device(settings.device)
    model = random_llama(sizes, device, settings.dtype, settings.seed, size.length)
    assert read_anatomy(model).neurons == size.neurons
    return model


def _batches(size: Size, seed: int, device: torch.device) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(seed)
    sequences = size.tokens // size.length
    for start in range(0, sequences, 8):
        shape = (min(8, sequences - start), size.length)
        ids = torch.randint(size.vocabulary, shape, generator=generator)
        counted = torch.ones(shape, dtype=torch.bool)
        yield Batch(ids, torch.ones_like(ids), counted).to(device)


def _classification(
    size: Size, settings: PlaceSettings, say: Callable[[str], None]
) -> dict[str, Any]:
    """Classify random scores once for each threshold; no model is needed."""
    index = UnitIndex(Anatomy.llama(size.layers, size.width, size.neurons, size.width // 128))
    draw = np.random.default_rng(settings.seed)
    safety, utility = draw.lognormal(size=(2, index.anatomy.units))
    budgets = [
        BudgetsConfig(scu=float(share)) for share in np.linspace(0.005, 0.05, size.thresholds)
    ]

    def all_thresholds() -> None:
        for budget in budgets:
            classify(safety, utility, index.parameters, budget)

    say(f"{CLASSIFICATION}: {index.anatomy.units} units, {size.thresholds} thresholds")
    seconds = timed_rounds(
        {"classes": all_thresholds}, settings.repeats, "cpu", _quiet, threads=settings.threads
    )
    return {
        "units": index.anatomy.units,
        "seconds": median_range(seconds["classes"]),
        "peak_memory": _peak(all_thresholds, torch.device("cpu")),
    }


def _peak(action: Callable[[], None], device: torch.device) -> int:
    """Peak memory of an action, in bytes beyond what is in use before it."""
    settle()
    meter = PeakMeter(device)
    meter.reset()
    action()
    return meter.peak()


def _quiet(line: str) -> None:
    """Print nothing: hundreds of rounds are not worth a line each."""

"""From a finished run to the atlas over ways to calibrate its model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from ssah_exp.config.schema import CalibrationConfig, Target, UnitsConfig
from ssah_exp.data.chat import encode_pairs
from ssah_exp.data.datasets import check_no_overlap, draw_calibration
from ssah_exp.data.sources import Example
from ssah_exp.errors import ConfigError, DataError, JudgeError
from ssah_exp.evaluation.judges import Judge, Verdict, judge_of
from ssah_exp.evaluation.metrics import assessed
from ssah_exp.models.anatomy import output_column_norms
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sizes import KINDS, Anatomy, Kind
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.own_answers import own_answers
from ssah_exp.pipeline.reopening import Reopened
from ssah_exp.pipeline.stages import Stages
from ssah_exp.units.agreement import ClassAgreement
from ssah_exp.units.calibration_settings import (
    CalibrationSetting,
    SettingsAtlas,
    SettingsComparison,
    size_curve,
)
from ssah_exp.units.examples import ExampleMoments
from ssah_exp.units.identify import SETS, Identification
from ssah_exp.units.passed import PassedExamples
from ssah_exp.units.statistics import ChannelStatistics

_Pass = tuple[ChannelStatistics, ExampleMoments]


@dataclass(frozen=True)
class Charted:
    """An atlas and what it took.

    Attributes:
        atlas: What was compared.
        passes: Calibration sets that needed a pass of the model, over examples new to it.
        sequences: Number of examples in those passes.
        pass_seconds: Seconds of everything but comparisons: those passes, and the answers for
            ``own_refusals`` that were not cached.
        draw_seconds: Seconds of all comparisons and their resamples.
    """

    atlas: SettingsAtlas
    passes: int
    sequences: int
    pass_seconds: float
    draw_seconds: float


def chart(run: Reopened, ref: ModelRef, *, resamples: int, seed: int) -> Charted:
    """Compare the run's calibration with ``atlas.settings`` and draws of every size.

    Nothing is written but the answers for ``own_refusals`` and what a judge says of them, into the
    cache.

    Args:
        run: Reopened with ``atlas`` in its config.
        ref: The model whose units the run identified.
        resamples: Draws per comparison.
        seed: Decides the draws.

    Raises:
        ConfigError: There is nothing to compare, or the run has other scores than the paper's.
        SsahError: A setting's data is wrong.
    """
    run.check_statistics()
    config = run.config.atlas
    if not config.settings and not config.pool:
        raise ConfigError("atlas has no settings; give --set atlas=NAME.")
    begun, drawing = time.perf_counter(), _Stopwatch()
    calibrations = _Calibrations(run, run.stages(ref), ref)
    sizes: list[ClassAgreement] = []
    units = run.config.units
    if config.pool:
        pool = calibrations.pool(config.pool)
        with drawing.running():
            sizes = size_curve(pool, units, resamples=resamples, seed=seed)
        del pool  # it holds a copy of by far the largest set
    own = calibrations.own()
    with drawing.running():
        found = SettingsComparison(own, units, resamples=resamples, seed=seed)
    for name, given in config.settings.items():
        setting = CalibrationSetting(name, given.differs, calibrations.of(name, given), given.floor)
        with drawing.running():
            found.add(setting)
    with drawing.running():
        atlas = found.result(sizes)
    spent = time.perf_counter() - begun - drawing.seconds
    return Charted(atlas, calibrations.passes, calibrations.sequences, spent, drawing.seconds)


class _Stopwatch:
    """Adds up the seconds spent inside its blocks."""

    seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the seconds of this block."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start


class _Calibrations:
    """Calibration sets of one model; an example in several sets goes through it only once."""

    def __init__(self, run: Reopened, stages: Stages, ref: ModelRef) -> None:
        self._run, self._stages, self._ref = run, stages, ref
        self._passed: PassedExamples | None = None
        self.passes = 0

    @property
    def sequences(self) -> int:
        """Number of examples that went through the model."""
        return 0 if self._passed is None else self._passed.sequences

    def own(self) -> Identification:
        """The run's own sets."""
        sets = self._run.data.example_sets
        units = self._run.config.units
        return self._identified(
            {name: self._collected(name, sets[f"{name}_calibration"], units) for name in SETS}
        )

    def pool(self, count: int) -> Identification:
        """Up to ``count`` examples from each of the run's own sources."""
        config = self._run.config
        units = replace(config.units, samples=count)
        found = {}
        for name in SETS:
            source: Target = getattr(config.data, f"{name}_calibration")
            drawn = draw_calibration(source, f"data.{name}_calibration", units, config.seed)
            found[name] = self._collected(name, drawn, units)
        return self._identified(found)

    def of(self, name: str, setting: CalibrationConfig) -> Identification:
        """Both sets of a setting; what the setting leaves unset is taken from the run."""
        config, where = self._run.config, f"atlas.settings.{name}"
        units = config.units
        if setting.tokens is not None:
            units = replace(units, tokens=setting.tokens)
        found: dict[str, _Pass] = {}
        for which in SETS:
            given: Target | None = getattr(setting, which)
            examples = self._run.data.example_sets[f"{which}_calibration"]
            if given is not None or setting.seed is not None:
                source = given or getattr(config.data, f"{which}_calibration")
                seed = config.seed if setting.seed is None else setting.seed
                examples = self._drawn(source, which, f"{where}.{which}", units, seed)
                if setting.own_refusals and which == "safety":
                    examples = self._refused(examples, f"{where}.{which}", setting.answer_tokens)
            found[which] = self._collected(which, examples, units)
        return self._identified(found)

    def _drawn(
        self, source: Target, which: str, where: str, units: UnitsConfig, seed: int
    ) -> tuple[Example, ...]:
        examples = draw_calibration(source, where, units, seed)
        check_no_overlap({**self._run.data.example_sets, f"{which}_calibration": examples})
        return examples

    def _refused(
        self, requests: Sequence[Example], where: str, tokens: int | None
    ) -> tuple[Example, ...]:
        """The requests with the model's own answers that the primary judge calls refusals."""
        config, stages = self._run.config, self._stages
        if tokens is not None:
            evaluation = replace(config.evaluation, max_new_tokens=tokens)
            stages = replace(stages, config=replace(config, evaluation=evaluation))
        styles = [config.units.prompt_style] * len(requests)
        answers = own_answers(
            stages, self._ref, requests, styles, "calibration", f"{where} answers"
        )
        judged = assessed(
            self._judge(), [item.prompt for item in requests], [item.text for item in answers]
        )
        if failed := sum(item.failed for item in judged):
            raise JudgeError(
                f"{where}: the judge failed on {failed} of {len(judged)} answers, so what the "
                "model refuses is not known. What was judged is kept; ask again."
            )
        kept = [
            replace(item, response=answer.text, cut=answer.cut)
            for item, answer, said in zip(requests, answers, judged, strict=True)
            if said.verdict is Verdict.REFUSED
        ]
        least = config.units.min_samples
        if len(kept) < least:
            raise DataError(
                f"{where}: the model refuses {len(kept)} of {len(requests)} requests; "
                f"units.min_samples={least} are needed. "
                f"To leave it out: --set '~{where.rpartition('.')[0]}'."
            )
        return tuple(kept)

    def _judge(self) -> Judge:
        name = self._run.config.evaluation.primary_judge
        node = self._run.config.evaluation.judges[name]
        return judge_of(node, f"evaluation.judges.{name}", self._run.cache.root.parent)

    def _collected(self, name: str, examples: Sequence[Example], units: UnitsConfig) -> _Pass:
        config, stages = self._run.config, self._stages
        encoded = encode_pairs(
            stages.speech,
            examples,
            [units.prompt_style],
            config.evaluation.system_prompt,
            units.max_length,
            where=name,
            at_least=config.units.min_samples,
        )
        passed = self._seen()
        if new := passed.unseen(encoded, units.tokens):
            self.passes += 1
            stages.reporter.begin(f"{name}: {len(new)} sequences, {units.tokens} tokens")
        return passed.of(name, encoded, units)

    def _seen(self) -> PassedExamples:
        if self._passed is None:
            anatomy, _ = self._shape
            self._passed = PassedExamples(self._loaded, anatomy.layers, self._run.config.trainer)
        return self._passed

    def _loaded(self) -> LoadedModel:
        """From the slot each time: answers for ``own_refusals`` may need the room in between."""
        return self._stages.slot.get(self._ref)

    @cached_property
    def _shape(self) -> tuple[Anatomy, dict[Kind, torch.Tensor]]:
        """The model's anatomy, and the norms of its output columns by kind of unit."""
        loaded = self._loaded()
        norms = {kind: output_column_norms(loaded.model, kind) for kind in KINDS}
        return loaded.anatomy, norms

    def _identified(self, found: dict[str, _Pass]) -> Identification:
        anatomy, norms = self._shape
        return Identification(
            anatomy,
            found["safety"][0],
            found["utility"][0],
            norms,
            {name: item[1] for name, item in found.items()},
        )

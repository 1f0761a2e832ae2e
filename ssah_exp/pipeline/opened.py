"""What every artefact's run begins and ends with: inputs, run id, shared stages, the record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from ssah_exp import ranks
from ssah_exp.cache import Cache
from ssah_exp.config.build import build
from ssah_exp.config.facts import VLLM
from ssah_exp.config.identity import run_id, science
from ssah_exp.config.plugins import plugin_code
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.vocabulary import MT_BENCH
from ssah_exp.data.datasets import EVALUATED, RunData, load_data, repeated
from ssah_exp.evaluation.attacks import Attack
from ssah_exp.evaluation.described import check_described
from ssah_exp.evaluation.judges import HarmJudge, Judge, judge_of
from ssah_exp.evaluation.mt_bench.metrics import mt_bench_inputs, mt_bench_judge
from ssah_exp.evaluation.utility.inputs import utility_inputs
from ssah_exp.evaluation.vllm_engine import require_vllm
from ssah_exp.models.companion import Companion
from ssah_exp.models.load_tokenizer import load_speech
from ssah_exp.models.sources import ModelRef, ModelSource
from ssah_exp.pipeline.identification import Identified
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.stages import ModelSlot, Stages, read_training
from ssah_exp.records.provenance import now, provenance
from ssah_exp.records.record import ArmRecord, RunRecord, StageRecord, status_of
from ssah_exp.records.store import RecordStore
from ssah_exp.records.trackers.base import RunHead
from ssah_exp.units.summary import class_summary


@dataclass(frozen=True)
class Finished:
    """A run's record and where its files lie.

    Attributes:
        record: The record on disk.
        folder: The run's folder.
        stages: What this call computed and what it found in the cache.
        fresh: False if nothing was computed and the record was there before.
    """

    record: RunRecord
    folder: Path
    stages: list[StageRecord]
    fresh: bool


@dataclass(frozen=True)
class OpenRun:
    """A run whose inputs are known and whose folder is decided.

    Attributes:
        config: Validated.
        reporter: Receives progress.
        root: Where runs and cache lie.
        judges: By name.
        attacks: By name.
        data: Every data set.
        source: Where the base model comes from.
        inputs: Content hashes of model, data and whatever else is read from files.
        run_id: Hash of what decides the result.
        started: ISO time.
        origin: Code, packages and machine at the start.
        bench: The judge of MT-bench; None if the run does not hold MT-bench.
    """

    config: RunConfig
    reporter: Reporter
    root: Path
    judges: dict[str, Judge]
    attacks: dict[str, Attack]
    data: RunData
    source: ModelSource
    inputs: dict[str, str]
    run_id: str
    started: str
    origin: dict[str, Any]
    bench: HarmJudge | None

    @property
    def folder(self) -> Path:
        """Where the run's files go."""
        return RecordStore(self.root).folder(self.config.artefact, self.run_id)

    def prepare(self) -> tuple[ModelRef, Stages]:
        """Make the base model loadable and gather what the stages share."""
        cache = Cache(self.root / "cache", self.reporter.say)
        base, entry = self.source.resolve(cache)
        if entry is not None:
            self.reporter.done("model", entry)
        speech = load_speech(base.location, self.config.model, base.commit)
        slot = ModelSlot(self.config, self.reporter, self._companions())
        return base, Stages(self.config, self.data, cache, self.reporter, slot, speech)

    def _companions(self) -> list[Companion]:
        """Local models of judges, and of attackers and their judges."""
        within = (part for attack in self.attacks.values() for part in vars(attack).values())
        return [item for item in (*self.judges.values(), *within) if isinstance(item, Companion)]

    def align(self, base: ModelRef, stages: Stages) -> tuple[ModelRef, dict[str, Any] | None]:
        """The aligned model and how it was trained; the base model if it comes aligned."""
        if not self.config.alignment.enabled:
            return base, None
        aligned, entry = stages.align(base)
        self.reporter.done("align", entry)
        return aligned, read_training(entry)

    def finish(
        self,
        models: dict[str, ModelRef],
        training: dict[str, Any] | None,
        identified: Identified | None,
        stages: Stages,
        measured: list[ArmRecord],
    ) -> Finished:
        """Write the record, last; keep the earlier one if this call only looked things up.

        Only rank 0 writes; the record that other ranks get has no metrics.

        Args:
            models: By name.
            training: How the aligned model was trained.
            identified: Its units; None if the artefact identifies none.
            stages: The cached stages.
            measured: Every arm.
        """
        config = self.config
        record = RunRecord(
            run_id=self.run_id,
            artefact=config.artefact,
            status=status_of(measured),
            seed=config.seed,
            config=science(config),
            inputs=self.inputs,
            models={name: _describe(ref) for name, ref in models.items()},
            data={name: len(rows) for name, rows in self.data.example_sets.items()},
            template_hash=stages.speech.template_hash,
            judges=self._described(),
            attacks={name: attack.describe() for name, attack in self.attacks.items()},
            training=training,
            calibration={} if identified is None else identified.counts(),
            classes={} if identified is None else class_summary(identified.units),
            statistics_agreement={} if identified is None else identified.agreement,
            arms=measured,
            stages=self.reporter.stages,
            provenance=self.origin,
            started=self.started,
            finished=now(),
        )
        fresh = False
        if ranks.first():
            record, fresh = self._written(record)
        return Finished(record, self.folder, self.reporter.stages, fresh)

    def _written(self, record: RunRecord) -> tuple[RunRecord, bool]:
        """What stands on disk now, and whether it is new.

        An earlier record of the same numbers stays: it says who computed them, when and on what.
        """
        store = RecordStore(self.root)
        earlier = store.get(record.artefact, record.run_id)
        cached = all(stage.cached for stage in record.stages)
        if earlier is not None and cached and earlier.measured_as(record):
            return earlier, False
        store.write(record)
        return record, True

    def _described(self) -> dict[str, dict[str, Any]]:
        described = {name: judge.describe() for name, judge in self.judges.items()}
        return described if self.bench is None else {**described, MT_BENCH: self.bench.describe()}


def open_run(config: RunConfig, reporter: Reporter, *, training: bool = False) -> OpenRun:
    """Load data, hash inputs, announce the run.

    Args:
        config: A validated config.
        reporter: Receives progress.
        training: Whether the artefact fine-tunes, and so reads the data for it.

    Raises:
        SsahError: Something given is wrong; see its subclasses.
    """
    if config.evaluation.engine == VLLM:
        require_vllm()
    # Taken at the start: the checkout may move on while a long run still has its old code.
    started, origin = now(), provenance()
    root = Path(config.paths.root).expanduser()
    judges = {
        name: judge_of(node, f"evaluation.judges.{name}", root)
        for name, node in config.evaluation.judges.items()
    }
    attacks = _attacks(config, root)
    bench = mt_bench_judge(config)
    asked = {**utility_inputs(config.utility), **mt_bench_inputs(bench)}
    data = load_data(config, training=training)
    source = build(config.model.source, "model.source", ModelSource)
    inputs = {"model": source.fingerprint(), **data.fingerprints, **asked}
    content = science(config)
    inputs |= _files_of(judges, attacks) | plugin_code(content)
    identifier = run_id(config, inputs)
    reporter.opened(RunHead(identifier, config.artefact, config.seed, content, inputs, origin))
    if thinned := _thinned(config, data):
        reporter.say(escape(f"asking {thinned}"))
    for line in _doubtful(data):
        reporter.say(escape(line))
    return OpenRun(
        config=config,
        reporter=reporter,
        root=root,
        judges=judges,
        attacks=attacks,
        data=data,
        source=source,
        inputs=inputs,
        run_id=identifier,
        started=started,
        origin=origin,
        bench=bench,
    )


def _thinned(config: RunConfig, data: RunData) -> str:
    """Which sets of requests are asked in part (``every``), to tell users who gave their own."""
    every = {name: getattr(config.data, name).get("every", 1) for name in EVALUATED}
    return ", ".join(
        f"{len(getattr(data, name))} of data.{name} (every={step})"
        for name, step in every.items()
        if step > 1
    )


def _doubtful(data: RunData) -> Iterator[str]:
    """A line per set of requests that repeats some, or whose file had blank rows.

    Blank rows were left out on loading. Repeated requests are asked all the same: whoever gave the
    file decides what becomes of them.
    """
    for name in EVALUATED:
        rows = getattr(data, name)
        said = [
            f"{n} blank rows of {origin} left out" for origin, n in data.blank.get(name, {}).items()
        ]
        if again := repeated(rows):
            said.append(
                f"{again} of {len(rows)} in words that another has, too; intervals and tests "
                "count each as independent"
            )
        if said:
            yield f"data.{name}: {', '.join(said)}"


def _attacks(config: RunConfig, root: Path) -> dict[str, Attack]:
    """Every attack by name; its judge may look up what it said in earlier runs."""
    attacks: dict[str, Attack] = {}
    for name, node in config.evaluation.attacks.items():
        where = f"evaluation.attacks.{name}.method"
        attacks[name] = attack = build(node.method, where, Attack)
        check_described(attack, where)
        attack.keep_in(root)
    return attacks


def _files_of(judges: dict[str, Judge], attacks: dict[str, Attack]) -> dict[str, str]:
    """Hashes of judges' and attackers' weights, and of judges' wordings that files hold."""
    prints: dict[str, str | None] = {}
    for name, judge in judges.items():
        if isinstance(judge, HarmJudge):
            prints[f"judge.{name}"] = judge.fingerprint()
            prints[f"judge.{name}.wording"] = judge.wording()
    for name, attack in attacks.items():
        prints[f"attack.{name}"] = attack.fingerprint()
    return {name: value for name, value in prints.items() if value is not None}


def _describe(ref: ModelRef) -> dict[str, str]:
    return {
        "identifier": ref.identifier,
        "revision": ref.revision,
        "fingerprint": ref.fingerprint,
    }

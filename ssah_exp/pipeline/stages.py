"""The expensive stages, each a cache entry: model, alignment, statistics, answers, losses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ssah_exp import ranks
from ssah_exp.cache import Cache, Entry, write_atomically
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.trainer import shards, uses_cuda
from ssah_exp.config.validate import TRANSFORMERS, VLLM
from ssah_exp.data.chat import Encoded, encode_pairs
from ssah_exp.data.datasets import RunData
from ssah_exp.evaluation.attacks import Attack, Request, Victim
from ssah_exp.evaluation.attacks.search import search
from ssah_exp.evaluation.generate import Decoding, complete, generate
from ssah_exp.evaluation.kept import Kept
from ssah_exp.evaluation.mt_bench.conversations import hold, read_conversations, write_answers
from ssah_exp.evaluation.mt_bench.names import TURNS
from ssah_exp.evaluation.perplexity import text_windows, window_losses
from ssah_exp.evaluation.questions import (
    Prompt,
    Question,
    encode_questions,
    fingerprint_prompts,
    questions_of,
    write_completions,
)
from ssah_exp.evaluation.utility.documents import fingerprint_files
from ssah_exp.evaluation.utility.inputs import harness_version, request_of
from ssah_exp.evaluation.utility.outcomes import Outcomes
from ssah_exp.evaluation.vllm_engine import VllmEngine
from ssah_exp.interventions.ablate import Ablation, ablated
from ssah_exp.interventions.export import export_model
from ssah_exp.models.anatomy import Anatomy
from ssah_exp.models.attached.folder import has_adapter, save_adapter
from ssah_exp.models.load import LoadedModel, load_model, longest_sequence
from ssah_exp.models.sharded import mesh_of_ranks, shard
from ssah_exp.models.sources import ModelRef
from ssah_exp.models.tokenizer import Speech
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.training.certificate import check_certificate, has_certificate
from ssah_exp.training.loop import fine_tune, supervised_run
from ssah_exp.units.identify import SETS, Identification, identify_together

# Raised when a change of code changes what a stage computes from the same inputs.
ALIGN_VERSION, STATISTICS_VERSION, ANSWERS_VERSION, LOSSES_VERSION = 1, 1, 1, 1
ATTEMPTS_VERSION = 1
UTILITY_VERSION, MT_BENCH_VERSION = 1, 1


class ModelSlot:
    """Holds at most one model in memory, loaded when first needed.

    Under ``trainer.strategy=fsdp2`` a model is either split over the ranks, for forward passes, or
    whole in main memory, for a training that splits a twin of it.
    """

    def __init__(self, config: RunConfig, reporter: Reporter) -> None:
        self._config = config
        self._reporter = reporter
        self._held: tuple[ModelRef, bool] | None = None
        self._loaded: LoadedModel | None = None

    def get(self, ref: ModelRef) -> LoadedModel:
        """The model of ``ref``, for forward passes; another one in the slot is dropped first."""
        return self._get(ref, split=self._splits())

    def to_train(self, ref: ModelRef) -> LoadedModel:
        """The model of ``ref``, for training."""
        return self._get(ref, split=False)

    def _splits(self) -> bool:
        """Not where rank 0 works alone: there it needs the whole model."""
        return shards(self._config.trainer) and ranks.count() > 1

    def _get(self, ref: ModelRef, *, split: bool) -> LoadedModel:
        other = self._loaded is None or self._held != (ref, split)
        if any(ranks.everyones(other)) or self._loaded is None:  # splitting is done together
            self.clear()
            self._reporter.begin(f"loading {ref.identifier}")
            loaded = load_model(
                ref.location,
                self._config.model,
                _revision(ref),
                on_host=self._splits(),
            )
            if has_certificate(Path(ref.location)):
                check_certificate(loaded.model, Path(ref.location))
            if split:
                shard(loaded.model, mesh_of_ranks(uses_cuda(self._config.trainer)))
            self._loaded, self._held = loaded, (ref, split)
        return self._loaded

    def clear(self) -> None:
        """Forget the model, because it was changed or another is needed."""
        self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _revision(ref: ModelRef) -> str | None:
    """The commit to load a hub repository at; folders have none."""
    return None if Path(ref.location).is_dir() else ref.revision


@dataclass(frozen=True)
class Stages:
    """What all stages share.

    Attributes:
        config: The run's config.
        data: Its data sets.
        cache: Where entries lie.
        reporter: Where progress goes.
        slot: The model in memory.
        speech: The tokenizer.
    """

    config: RunConfig
    data: RunData
    cache: Cache
    reporter: Reporter
    slot: ModelSlot
    speech: Speech

    def align(self, base: ModelRef) -> tuple[ModelRef, Entry]:
        """Fine-tune the base model, or find the result."""
        config, alignment = self.config, self.config.alignment
        material = {
            "version": ALIGN_VERSION,
            "model": base.fingerprint,
            "precision": config.model.precision,
            "data": self.data.fingerprints["alignment"],
            "alignment": asdict(alignment),
            "system_prompt": system_if_used(config, alignment.prompt_styles),
            "template": self.speech.template_hash,
            "seed": config.seed,
        }

        partial = self.cache.partial("align", material)

        def compute(folder: Path) -> None:
            examples = encode_pairs(
                self.speech,
                self.data.alignment,
                alignment.prompt_styles,
                config.evaluation.system_prompt,
                alignment.max_length,
                where="data.alignment",
            )
            loaded = self.slot.to_train(base)
            self.reporter.begin(f"aligning on {len(examples)} examples x {alignment.epochs} epochs")
            run = supervised_run(
                loaded, examples, alignment, config.seed, config.trainer, checkpoints=partial
            )
            try:
                summary, _ = fine_tune(loaded, run)
                save_model(loaded, folder)
            finally:
                self.slot.clear()  # its weights are no longer the base model's
            write_atomically(folder / "training.json", json.dumps(summary.as_dict()))

        entry = self.cache.get_or_compute("align", material, compute, together=True)
        name = f"{base.identifier} + SFT"
        return ModelRef(name, entry.digest[:12], str(entry.folder), entry.digest), entry

    def statistics(self, aligned: ModelRef) -> tuple[Identification, Entry]:
        """Channel statistics of the aligned model over both calibration sets."""
        config, units = self.config, self.config.units
        calibration = self.calibration()
        material = {
            "version": STATISTICS_VERSION,
            "model": aligned.fingerprint,
            "precision": config.model.precision,
            "safety": self.data.fingerprints["safety_calibration"],
            "utility": self.data.fingerprints["utility_calibration"],
            "tokens": units.tokens,
            "max_length": units.max_length,
            "prompt_style": units.prompt_style,
            "system_prompt": system_if_used(config, [units.prompt_style]),
            "template": self.speech.template_hash,
        }

        def compute(folder: Path) -> None:
            sizes = " + ".join(str(len(items)) for items in calibration.values())
            loaded = self.slot.get(aligned)
            self.reporter.begin(f"collecting statistics over {sizes} sequences")
            found = identify_together(loaded, calibration, units, config.trainer)
            if found is not None:
                found.save(folder)
                write_atomically(folder / "anatomy.json", json.dumps(loaded.anatomy.as_dict()))

        entry = self.cache.get_or_compute("statistics", material, compute, together=True)
        anatomy = Anatomy(**json.loads((entry.folder / "anatomy.json").read_text()))
        return Identification.load(entry.folder, anatomy), entry

    def calibration(self) -> dict[str, list[Encoded]]:
        """Both calibration sets, tokenised: ``safety`` and ``utility``."""
        return {name: self._calibration(f"{name}_calibration") for name in SETS}

    def _calibration(self, name: str) -> list[Encoded]:
        units = self.config.units
        return encode_pairs(
            self.speech,
            self.data.example_sets[name],
            [units.prompt_style],
            self.config.evaluation.system_prompt,
            units.max_length,
            where=f"data.{name}",
        )

    def questions(self) -> tuple[list[Question], list[Prompt]]:
        """Every question of an arm, and its tokens."""
        questions = questions_of(self.data, self.config.evaluation)
        system = self.config.evaluation.system_prompt
        return questions, encode_questions(self.speech, questions, system)

    def answers(
        self,
        ref: ModelRef,
        ablation: Ablation | None,
        questions: Sequence[Question],
        prompts: Sequence[Prompt],
        label: str,
    ) -> Entry:
        """Completions of one arm; batches done before a kill are not done again."""
        evaluation = self.config.evaluation
        material: dict[str, Any] = {
            "version": ANSWERS_VERSION,
            "model": ref.fingerprint,
            "precision": self.config.model.precision,
            "ablation": None if ablation is None else ablation.fingerprint,
            "prompts": fingerprint_prompts(prompts),
            "questions": [item.key for item in questions],
            "max_new_tokens": evaluation.max_new_tokens,
            "stop": list(self.speech.stop_ids),
        }

        if evaluation.engine != TRANSFORMERS:
            material["engine"] = evaluation.engine
        partial = self.cache.partial("answers", material)

        def compute(folder: Path) -> None:
            kept = Kept(partial, len(prompts))
            if kept.texts:
                self.reporter.begin(f"going on behind {len(kept.texts)} of {len(prompts)} answers")
            by_engine = self._by_vllm if evaluation.engine == VLLM else self._by_transformers
            texts = by_engine(ref, ablation, prompts, label, kept, folder)
            write_completions(folder / "completions.jsonl", questions, texts)

        return self.cache.get_or_compute("answers", material, compute, together=True)

    def _by_transformers(
        self,
        ref: ModelRef,
        ablation: Ablation | None,
        prompts: Sequence[Prompt],
        label: str,
        kept: Kept,
        work: Path,
    ) -> list[str]:
        loaded = self.slot.get(ref)
        with _maybe_ablated(loaded, ablation), self.reporter.bar(label, len(prompts)) as bar:
            return generate(loaded, prompts, self._decoding(), bar, kept)

    def _by_vllm(
        self,
        ref: ModelRef,
        ablation: Ablation | None,
        prompts: Sequence[Prompt],
        label: str,
        kept: Kept,
        work: Path,
    ) -> list[str]:
        """From the model's own folder, or from an export that is gone afterwards."""
        location, export = Path(ref.location), work / "export"
        if ablation is not None or has_adapter(location):
            export_model(self.slot.get(ref), ablation, export)
            location = export
        self.slot.clear()  # vLLM wants the card for itself
        local = location.is_dir()
        engine = VllmEngine(
            location if local else ref.location,
            None if local else ref.revision,
            self.config.model,
            self.speech,
            self._decoding(),
        )
        with self.reporter.bar(label, len(prompts)) as bar:
            texts = complete(engine, self.speech, prompts, self._decoding(), bar, kept)
        shutil.rmtree(export, ignore_errors=True)
        return texts

    def _decoding(self) -> Decoding:
        evaluation = self.config.evaluation
        return Decoding(evaluation.max_new_tokens, evaluation.batch_size, evaluation.share_prefix)

    def attempts(
        self,
        ref: ModelRef,
        ablation: Ablation | None,
        attack: Attack,
        requests: Sequence[Request],
        label: str,
    ) -> Entry:
        """What an attack makes of every request, against one arm.

        A killed search goes on with the first request that has no attempts yet.
        """
        config, settings = self.config, attack.settings()
        material = {
            "version": ATTEMPTS_VERSION,
            "attack": settings,
            "requests": [asdict(request) for request in requests],
            "template": self.speech.template_hash,
        }
        if attack.SEARCHES:
            material |= {
                "model": ref.fingerprint,
                "precision": config.model.precision,
                "ablation": None if ablation is None else ablation.fingerprint,
                "max_new_tokens": config.evaluation.max_new_tokens,
                "system_prompt": system_if_used(config, [item.style for item in requests]),
                "seed": config.seed,
            }
        partial = self.cache.partial("attempts", material) / "attempts.jsonl"

        def compute(folder: Path) -> None:
            loaded = self.slot.get(ref)
            victim = Victim(loaded, config.evaluation.system_prompt, self._decoding())
            with _maybe_ablated(loaded, ablation), self.reporter.bar(label, len(requests)) as bar:
                found = search(attack, victim, requests, config.seed, partial, bar)
            write_atomically(folder / "attempts.json", json.dumps(found))

        return self.cache.get_or_compute("attempts", material, compute)

    def losses(self, ref: ModelRef, ablation: Ablation | None, label: str) -> Entry:
        """Window losses of one arm on held-out text."""
        settings = self.config.evaluation.perplexity
        window = self._window(ref)
        material = {
            "version": LOSSES_VERSION,
            "model": ref.fingerprint,
            "precision": self.config.model.precision,
            "ablation": None if ablation is None else ablation.fingerprint,
            "text": self.data.fingerprints["text"],
            "window": window,
            "max_tokens": settings.max_tokens,
        }

        def compute(folder: Path) -> None:
            windows = text_windows(self.speech, self.data.text, window, settings.max_tokens)
            loaded = self.slot.get(ref)
            with _maybe_ablated(loaded, ablation), self.reporter.bar(label, len(windows)) as bar:
                losses = window_losses(loaded, windows, settings.batch_size, bar)
            write_atomically(folder / "losses.json", json.dumps(losses))

        return self.cache.get_or_compute("losses", material, compute, together=True)

    def _window(self, ref: ModelRef) -> int:
        window = self.config.evaluation.perplexity.window
        if isinstance(window, int):
            return window
        return longest_sequence(ref.location, self.config.model, _revision(ref))

    def utility(self, task: str, ref: ModelRef, ablation: Ablation | None, label: str) -> Entry:
        """One arm's answers to one task of lm-evaluation-harness."""
        request = request_of(task, self.config.utility)
        material = {
            "version": UTILITY_VERSION,
            "model": ref.fingerprint,
            "precision": self.config.model.precision,
            "ablation": None if ablation is None else ablation.fingerprint,
            "task": task,
            "data": "hub" if request.root is None else fingerprint_files(task, request.root),
            "limit": request.limit,
            "fewshot": request.fewshot,
            "harness": harness_version(),
        }

        def compute(folder: Path) -> None:
            # Only here: it takes seconds to import, and is an extra.
            from ssah_exp.evaluation.utility.harness import evaluate

            loaded = self.slot.get(ref)
            self.reporter.begin(label)
            with _maybe_ablated(loaded, ablation):
                evaluate(loaded, request).save(folder)

        return self.cache.get_or_compute("utility", material, compute)

    def mt_bench(self, ref: ModelRef, ablation: Ablation | None, label: str) -> Entry:
        """One arm's answers to both turns of MT-bench."""
        bench = self.config.mt_bench
        conversations = read_conversations(Path(str(bench.questions)), bench.limit)
        material = {
            "version": MT_BENCH_VERSION,
            "model": ref.fingerprint,
            "precision": self.config.model.precision,
            "ablation": None if ablation is None else ablation.fingerprint,
            "conversations": [asdict(item) for item in conversations],
            "template": self.speech.template_hash,
            "max_new_tokens": bench.max_new_tokens,
        }

        def compute(folder: Path) -> None:
            loaded = self.slot.get(ref)
            decoding = Decoding(
                bench.max_new_tokens, bench.batch_size, self.config.evaluation.share_prefix
            )
            total = TURNS * len(conversations)
            with _maybe_ablated(loaded, ablation), self.reporter.bar(label, total) as bar:
                write_answers(folder / "answers.jsonl", hold(loaded, conversations, decoding, bar))

        return self.cache.get_or_compute("mt_bench", material, compute)


def read_outcomes(entry: Entry) -> Outcomes:
    """Answers of a ``utility`` entry."""
    return Outcomes.load(entry.folder)


def save_model(loaded: LoadedModel, folder: Path) -> None:
    """Write weights, tokenizer and the adapter beside them, if any; ranks hold the same: one does.

    Args:
        loaded: Whole, in memory.
        folder: A model folder.
    """
    if ranks.first():
        loaded.model.save_pretrained(folder)
        save_adapter(loaded.model, folder)
        loaded.speech.tokenizer.save_pretrained(folder)


def read_losses(entry: Entry) -> list[float]:
    """Window losses of a ``losses`` entry."""
    losses: list[float] = json.loads((entry.folder / "losses.json").read_text())
    return losses


def read_training(entry: Entry) -> dict[str, Any]:
    """Training summary of an ``align`` entry."""
    summary: dict[str, Any] = json.loads((entry.folder / "training.json").read_text())
    return summary


@contextmanager
def _maybe_ablated(loaded: LoadedModel, ablation: Ablation | None) -> Iterator[None]:
    with ablated(loaded.model, ablation) if ablation is not None else nullcontext():
        yield


def system_if_used(config: RunConfig, styles: Sequence[str]) -> str | None:
    """The system prompt, if one of the styles carries it: only then does it decide anything."""
    used = any(style.endswith("_system") for style in styles)
    return config.evaluation.system_prompt if used else None

"""Stages that have a model answer: questions, and attacks on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ssah_exp.cache import Entry
from ssah_exp.config.facts import TRANSFORMERS, VLLM
from ssah_exp.config.plugins import code_of
from ssah_exp.errors import ConfigError, DataError
from ssah_exp.evaluation.attacks import Attack, Request, Victim
from ssah_exp.evaluation.attacks.search import search
from ssah_exp.evaluation.generate import complete, generate
from ssah_exp.evaluation.kept import KeptCompletions
from ssah_exp.evaluation.questions import (
    Prompt,
    Question,
    encode_questions,
    fingerprint_prompts,
    positions_needed,
    questions_of,
    write_completions,
)
from ssah_exp.evaluation.vllm_engine import VllmEngine, check_biases, check_lengths
from ssah_exp.interventions.ablate import Ablation
from ssah_exp.interventions.export import export_model
from ssah_exp.models.attached.folder import has_adapter
from ssah_exp.models.hf_config import reachable_positions
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sidecar import sidecar_folder
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages.shared import Shared, maybe_ablated, system_if_used
from ssah_exp.records.provenance import package_version
from ssah_exp.storage import write_atomically

# Raised when a change of code changes what a stage computes from the same inputs.
ANSWERS_VERSION, ATTEMPTS_VERSION = 1, 1


class AnsweringStages(Shared):
    """Stages in which one arm answers."""

    def questions(self) -> tuple[list[Question], list[Prompt]]:
        """Every question of an arm, and its tokens."""
        questions = questions_of(self.data, self.config.evaluation)
        system = self.config.evaluation.system_prompt
        return questions, encode_questions(self.speech, questions, system)

    def check_prompts(self, ref: ModelRef) -> None:
        """Before anything is trained, refuse requests that the model has no positions for.

        Raises:
            DataError: A request with its answer is longer than any sequence the model was made for.
        """
        self._check_positions(ref, self.questions()[1], "request")

    def _check_positions(self, ref: ModelRef, prompts: Sequence[Prompt], what: str) -> None:
        new = self.config.evaluation.max_new_tokens
        needed = positions_needed(prompts, new)
        limit = reachable_positions(ref.location, self.config.model, ref.commit)
        if limit is not None and needed > limit:
            raise DataError(
                f"The longest {what} has {needed - new} tokens and its answer up to {new} "
                f"(evaluation.max_new_tokens): the model was made for {limit} positions."
            )

    def answers(
        self,
        ref: ModelRef,
        ablation: Ablation | None,
        questions: Sequence[Question],
        prompts: Sequence[Prompt],
        label: str,
    ) -> Entry:
        """Completions of one arm; batches done before a kill are not done again.

        Raises:
            DataError: An attack has made a request longer than the model was made for.
        """
        evaluation = self.config.evaluation
        material: dict[str, Any] = {
            "version": ANSWERS_VERSION,
            **self.arm_key(ref, ablation),
            "prompts": fingerprint_prompts(prompts),
            "questions": [item.key for item in questions],
            "max_new_tokens": evaluation.max_new_tokens,
            "stop": list(self.speech.stop_ids),
            **_engine_of(evaluation.engine),
        }
        partial = self.cache.partial("answers", material)

        def compute(folder: Path) -> None:
            self._check_positions(ref, prompts, "request, attacked or not,")
            kept = KeptCompletions(partial, len(prompts))
            if kept.texts:
                self.reporter.begin(f"resuming after {len(kept.texts)} of {len(prompts)} answers")
            if evaluation.engine == VLLM:
                texts = self._by_vllm(ref, ablation, prompts, label, kept, partial)
            else:
                texts = self._by_transformers(ref, ablation, prompts, label, kept)
            write_completions(folder / "completions.jsonl", questions, texts)

        return self.cache.get_or_compute("answers", material, compute, together=True)

    def _by_transformers(
        self,
        ref: ModelRef,
        ablation: Ablation | None,
        prompts: Sequence[Prompt],
        label: str,
        kept: KeptCompletions,
    ) -> list[str]:
        loaded = self.slot.get(ref)
        with maybe_ablated(loaded, ablation), self.reporter.bar(label, len(prompts)) as bar:
            return generate(loaded, prompts, self.decoding(), bar, kept)

    def _by_vllm(
        self,
        ref: ModelRef,
        ablation: Ablation | None,
        prompts: Sequence[Prompt],
        label: str,
        kept: KeptCompletions,
        partial: Path,
    ) -> list[str]:
        """Answer from the model's own folder or, where vLLM cannot, from a temporary export.

        The export lies with the unfinished work and goes with it: some file servers hold on to a
        file that is open, and an entry must never hold what vanishes later.
        """
        location, commit = ref.location, ref.commit
        room = self.config.evaluation.vllm
        check_lengths(prompts, self.decoding(), room)
        export = partial / "export"
        shutil.rmtree(export, ignore_errors=True)  # of a run that was killed
        if ablation is not None or has_adapter(sidecar_folder(location, commit)):
            partial.mkdir(parents=True, exist_ok=True)
            export_model(self.slot.get(ref), ablation, export)
            location, commit = str(export), None
        try:
            if export.is_dir():
                check_biases(export)
            self.slot.vacate()  # vLLM wants the card for itself
            engine = VllmEngine(
                location, commit, self.config.model, self.speech, self.decoding(), room
            )
        except Exception:
            shutil.rmtree(export, ignore_errors=True)  # nobody may come back for it
            raise
        with self.reporter.bar(label, len(prompts)) as bar:
            return complete(engine, self.speech, prompts, self.decoding(), bar, kept)

    def attempts(
        self,
        ref: ModelRef,
        ablation: Ablation | None,
        attack: Attack,
        requests: Sequence[Request],
        label: str,
    ) -> Entry:
        """What an attack makes of every request, against one arm.

        A killed search goes on with the first request that has no attempts yet. Arms, and runs of
        other models, share the attempts of an attack that does not look at the model.
        """
        config = self.config
        material = self._attempts_key(ref, ablation, attack, requests)
        partial = self.cache.partial("attempts", material) / "attempts.jsonl"

        def unseen() -> LoadedModel:
            raise ConfigError(
                f"Attack '{attack.name}' looks at the model, and its class says SEARCHES = False."
            )

        def compute(folder: Path) -> None:
            system, decoding = config.evaluation.system_prompt, self.decoding()
            victim = Victim(self.speech, unseen, system, decoding)
            ablated: AbstractContextManager[None] = nullcontext()
            if attack.SEARCHES:  # what does not need the model must not load it
                loaded = self.slot.get(ref)
                victim = Victim.of(loaded, system, decoding)
                ablated = maybe_ablated(loaded, ablation)
            with ablated, self.reporter.bar(label, len(requests)) as bar:
                found = search(attack, victim, requests, config.seed, partial, bar)
            write_atomically(folder / "attempts.json", json.dumps(found))

        return self.cache.get_or_compute("attempts", material, compute)

    def _attempts_key(
        self,
        ref: ModelRef,
        ablation: Ablation | None,
        attack: Attack,
        requests: Sequence[Request],
    ) -> dict[str, Any]:
        """What attempts are keyed by.

        Of attacks that do not look at the model, this package's draw nothing at random; a user's
        own may, and has the seed in its key.
        """
        config, code = self.config, code_of(attack)
        material: dict[str, Any] = {
            "version": ATTEMPTS_VERSION,
            "attack": {**attack.settings(), **code},
            "requests": [request.as_dict() for request in requests],
            "template": self.speech.template_hash,
            **attack.tokenized(self.speech),
        }
        if attack.SEARCHES or code:
            material["seed"] = config.seed
        if attack.SEARCHES:
            material |= {
                **self.arm_key(ref, ablation),
                "max_new_tokens": config.evaluation.max_new_tokens,
                "system_prompt": system_if_used(config, [item.style for item in requests]),
            }
        return material


def _engine_of(name: str) -> dict[str, Any]:
    """What the engine adds to an answer's key: another version of vLLM rounds otherwise."""
    if name == TRANSFORMERS:
        return {}
    return {"engine": name, "engine_version": package_version(name)}

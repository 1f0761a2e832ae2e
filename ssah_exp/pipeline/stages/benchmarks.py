"""Stages that measure a model by texts and questions of others."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssah_exp.cache import Entry
from ssah_exp.errors import DataError
from ssah_exp.evaluation.generate import Decoding
from ssah_exp.evaluation.mt_bench.conversations import (
    hold,
    longest_conversation,
    read_conversations,
    write_answers,
)
from ssah_exp.evaluation.mt_bench.names import TURNS
from ssah_exp.evaluation.perplexity import require_window, text_windows, window_losses
from ssah_exp.evaluation.utility.documents import fingerprint_files, read_definition
from ssah_exp.evaluation.utility.inputs import harness_version, request_of
from ssah_exp.evaluation.utility.outcomes import TaskRequest
from ssah_exp.interventions.ablate import Ablation
from ssah_exp.models.anatomy import reads_from_bos
from ssah_exp.models.hf_config import load_config, longest_sequence, reachable_positions
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages.shared import Shared, maybe_ablated
from ssah_exp.storage import write_atomically

# Raised when a change of code changes what a stage computes from the same inputs.
LOSSES_VERSION, UTILITY_VERSION, MT_BENCH_VERSION = 1, 1, 1


class BenchmarkStages(Shared):
    """Held-out text, tasks of lm-evaluation-harness, MT-bench."""

    def check_text(self, ref: ModelRef) -> None:
        """Before anything is trained, refuse windows of held-out text that cannot be measured.

        Raises:
            DataError: The text does not fill one window, or a window is longer than any sequence
                the model was made for.
        """
        most, window = self.config.evaluation.perplexity.max_tokens, self._window(ref)
        limit = reachable_positions(ref.location, self.config.model, ref.commit)
        if limit is not None and window > limit:
            raise DataError(
                f"evaluation.perplexity.window={window}: the model was made for {limit} positions."
            )
        require_window(self.speech, self.data.text, window, most, bos=self._bos(ref))

    def check_conversations(self, ref: ModelRef) -> None:
        """Before anything is trained, say so if MT-bench may outgrow the model.

        Most answers end long before ``mt_bench.max_new_tokens``, those of base models often do not.

        Raises:
            DataError: The questions are malformed, or there is no chat template.
        """
        bench = self.config.mt_bench
        if bench.judge is None:
            return
        conversations = read_conversations(Path(str(bench.questions)), bench.limit)
        longest = longest_conversation(self.speech, conversations, bench.max_new_tokens)
        limit = reachable_positions(ref.location, self.config.model, ref.commit)
        if limit is not None and longest > limit:
            self.reporter.say(
                f"mt_bench.max_new_tokens={bench.max_new_tokens}: if every answer is as long, the "
                f"longest conversation has {longest} tokens, and the model was made for {limit} "
                "positions. What it says beyond them is noise."
            )

    def losses(self, ref: ModelRef, ablation: Ablation | None, label: str) -> Entry:
        """Window losses of one arm on held-out text, in nats per token."""
        settings = self.config.evaluation.perplexity
        window, most, bos = self._window(ref), settings.max_tokens, self._bos(ref)
        material = {
            "version": LOSSES_VERSION,
            **self.arm_key(ref, ablation),
            "text": self.data.fingerprints["text"],
            "window": window,
            "max_tokens": most,
            **({"bos": self.speech.tokenizer.bos_token_id} if bos else {}),
        }

        def compute(folder: Path) -> None:
            windows = text_windows(self.speech, self.data.text, window, most, bos=bos)
            loaded = self.slot.get(ref)
            with maybe_ablated(loaded, ablation), self.reporter.bar(label, len(windows)) as bar:
                losses = window_losses(loaded, windows, settings.batch_size, bar)
            write_atomically(folder / "losses.json", json.dumps(losses))

        return self.cache.get_or_compute("losses", material, compute, together=True)

    def _window(self, ref: ModelRef) -> int:
        window = self.config.evaluation.perplexity.window
        if isinstance(window, int):
            return window
        return longest_sequence(ref.location, self.config.model, ref.commit)

    def _bos(self, ref: ModelRef) -> bool:
        given = self.config.evaluation.perplexity.bos
        if given is not None:
            return given
        if ref not in self.from_bos:
            own = load_config(ref.location, self.config.model, ref.commit)
            self.from_bos[ref] = reads_from_bos(own)
        return self.from_bos[ref]

    def utility(self, task: str, ref: ModelRef, ablation: Ablation | None, label: str) -> Entry:
        """One arm's answers to one task of lm-evaluation-harness."""
        request = request_of(task, self.config.utility)
        material = {
            "version": UTILITY_VERSION,
            **self.arm_key(ref, ablation),
            "task": task,
            "data": "hub" if request.root is None else fingerprint_files(task, request.root),
            "limit": request.limit,
            "fewshot": request.fewshot,
            **_shots_of(request),
            "harness": harness_version(),
        }

        def compute(folder: Path) -> None:
            # Only here: it takes seconds to import, and is an extra.
            from ssah_exp.evaluation.utility.harness import evaluate

            loaded = self.slot.get(ref)
            self.reporter.begin(label)
            with maybe_ablated(loaded, ablation):
                evaluate(loaded, request).save(folder)

        return self.cache.get_or_compute("utility", material, compute)

    def mt_bench(self, ref: ModelRef, ablation: Ablation | None, label: str) -> Entry:
        """One arm's answers to both turns of MT-bench; batches done before a kill are kept."""
        bench = self.config.mt_bench
        conversations = read_conversations(Path(str(bench.questions)), bench.limit)
        material = {
            "version": MT_BENCH_VERSION,
            **self.arm_key(ref, ablation),
            "conversations": [asdict(item) for item in conversations],
            "template": self.speech.template_hash,
            "max_new_tokens": bench.max_new_tokens,
            "stop": list(self.speech.stop_ids),
        }
        partial = self.cache.partial("mt_bench", material)

        def compute(folder: Path) -> None:
            loaded = self.slot.get(ref)
            decoding = Decoding(
                bench.max_new_tokens, bench.batch_size, self.config.evaluation.share_prefix
            )
            total = TURNS * len(conversations)
            with maybe_ablated(loaded, ablation), self.reporter.bar(label, total) as bar:
                answers = hold(loaded, conversations, decoding, bar, partial)
            write_answers(folder / "answers.jsonl", answers)

        return self.cache.get_or_compute("mt_bench", material, compute)


def _shots_of(request: TaskRequest) -> dict[str, Any]:
    """Where the few-shot examples come from, unless from where the harness has them."""
    changes = read_definition(request.task).changes
    return {"shots": dict(changes)} if request.root and request.fewshot and changes else {}


def read_losses(entry: Entry) -> list[float]:
    """Window losses of a ``losses`` entry, in nats per token."""
    losses: list[float] = json.loads((entry.folder / "losses.json").read_text(encoding="utf-8"))
    return losses

"""Putting every question to one arm, judging the answers, keeping them in the run's folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_exp import ranks
from ssah_exp.cache import Entry
from ssah_exp.digest import digest_file
from ssah_exp.errors import ModelError
from ssah_exp.evaluation.metrics import Measured, measure_arm
from ssah_exp.evaluation.mt_bench.conversations import read_answers
from ssah_exp.evaluation.mt_bench.metrics import mt_bench_metrics
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.evaluation.questions import (
    Prompt,
    Question,
    completion_lines,
    read_completions,
)
from ssah_exp.evaluation.utility.metrics import (
    document_hashes,
    packed_answers,
    utility_metrics,
)
from ssah_exp.evaluation.utility.outcomes import TaskOutcomes
from ssah_exp.interventions.ablate import Ablation
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.attacking import questions_under_attack, requests_of
from ssah_exp.pipeline.opened import OpenRun
from ssah_exp.pipeline.stages import Stages, read_losses
from ssah_exp.records.record import file_name
from ssah_exp.storage import write_atomically


@dataclass(frozen=True)
class ArmMeasured:
    """What a run says of one arm.

    Attributes:
        measured: Metrics and outcomes.
        completions: Path of the completions within the run's folder.
        sha256: Of that file; None on ranks that do not write it.
    """

    measured: Measured
    completions: str
    sha256: str | None = None

    def recorded(self) -> dict[str, Any]:
        """By the names that :class:`~ssah_exp.records.record.ArmRecord` has for it."""
        return {
            "metrics": self.measured.metrics,
            "outcomes": self.measured.outcomes,
            "completions": self.completions,
            "completions_sha256": self.sha256,
        }


@dataclass(frozen=True)
class Measuring:
    """What all arms of a run are measured with.

    Attributes:
        run: With its judges, its attacks and its folder.
        stages: The cached stages.
        questions: Asked of every arm.
        prompts: Their tokens.
    """

    run: OpenRun
    stages: Stages
    questions: Sequence[Question]
    prompts: Sequence[Prompt]

    @classmethod
    def of(cls, run: OpenRun, stages: Stages) -> Measuring:
        """Measuring with the config's questions."""
        return cls(run, stages, *stages.questions())

    def measure(
        self,
        name: str,
        ref: ModelRef,
        ablation: Ablation | None,
        place: str,
        *,
        dense: bool = False,
    ) -> ArmMeasured:
        """What is measured on one arm, and the file of its completions in the run's folder.

        All ranks take part in answering; rank 0 alone judges and writes, the others get no metrics.

        Args:
            name: The arm's name.
            ref: Its model.
            ablation: What is ablated in it.
            place: ``[2/14]``, for the progress bar.
            dense: The model is one from before any ablation and any arm's training: it must work,
                while those may break, and then have gaps.

        Raises:
            ModelError: A dense model gives logits that are not numbers.
        """
        stages = self.stages
        label = f"{place} {name}"
        answers = stages.answers(ref, ablation, self.questions, self.prompts, f"{label} answers")
        stages.reporter.done(f"answers {name}", answers)
        losses = stages.losses(ref, ablation, f"{label} perplexity")
        stages.reporter.done(f"losses {name}", losses)
        said = [(self.questions, answers)]
        for attack in self.run.attacks:
            said.append(self._attacked(attack, name, ref, ablation, label))
        copy = f"completions/{file_name(name)}.jsonl"
        if not ranks.first():
            return ArmMeasured(Measured({}, Outcomes()), copy)
        kept = self.run.folder / copy
        _keep(said, kept)
        with ranks.alone():
            found = read_losses(losses)
            if dense:
                _require_numbers(name, found, stages.config.model.precision)
            measured = measure_arm(
                read_completions(kept),
                found,
                self.run.judges,
                stages.config.evaluation,
            )
            measured.add(self._utility(name, ref, ablation, label))
            measured.add(self._mt_bench(name, ref, ablation, label))
        return ArmMeasured(measured, copy, digest_file(kept))

    def _attacked(
        self, attack: str, name: str, ref: ModelRef, ablation: Ablation | None, label: str
    ) -> tuple[Sequence[Question], Entry]:
        """Search attempts against one arm and ask it each of them."""
        stages = self.stages
        config = stages.config.evaluation.attacks[attack]
        requests = requests_of(stages.data.harmful_eval, config)
        found = stages.attempts(
            ref, ablation, self.run.attacks[attack], requests, f"{label} under {attack}"
        )
        stages.reporter.done(f"attack {attack} {name}", found)
        questions, prompts = questions_under_attack(stages, attack, found)
        answers = stages.answers(ref, ablation, questions, prompts, f"{label} answers to {attack}")
        stages.reporter.done(f"answers {attack} {name}", answers)
        return questions, answers

    def _utility(self, name: str, ref: ModelRef, ablation: Ablation | None, label: str) -> Measured:
        """Tasks of the harness, each a cache entry of its own."""
        stages, utility = self.stages, self.stages.config.utility
        if not utility.tasks:
            return Measured({}, Outcomes())
        outcomes = []
        for task in utility.tasks:
            entry = stages.utility(task, ref, ablation, f"{label} {task}")
            stages.reporter.done(f"{task} {name}", entry)
            outcomes.append(TaskOutcomes.load(entry.folder))
        metrics = utility_metrics(outcomes, utility, stages.config.evaluation.confidence)
        answers, documents = packed_answers(outcomes), document_hashes(outcomes)
        return Measured(metrics, Outcomes(answers=answers, documents=documents))

    def _mt_bench(
        self, name: str, ref: ModelRef, ablation: Ablation | None, label: str
    ) -> Measured:
        """Two turns of conversation, and what the judge says of them."""
        stages, judge = self.stages, self.run.bench
        if judge is None:
            return Measured({}, Outcomes())
        entry = stages.mt_bench(ref, ablation, f"{label} MT-bench")
        stages.reporter.done(f"mt_bench {name}", entry)
        copy = self.run.folder / "mt_bench" / f"{file_name(name)}.jsonl"
        write_atomically(copy, (entry.folder / "answers.jsonl").read_text(encoding="utf-8"))
        return mt_bench_metrics(read_answers(copy), judge, stages.config.evaluation)


def _require_numbers(name: str, losses: Sequence[float], precision: str) -> None:
    """Refuse a broken dense model: its answers, and all arms beside it, would say nothing.

    Raises:
        ModelError: A loss is not a number.
    """
    broken = sum(math.isnan(loss) for loss in losses)
    if broken:
        raise ModelError(
            f"The model '{name}' gives logits that are not numbers in {broken} of {len(losses)} "
            "windows of held-out text, before anything is done to it: its LM head or other weights "
            f"are damaged, or model.precision={precision} overflows; try float32."
        )


def _keep(said: Sequence[tuple[Sequence[Question], Entry]], whole: Path) -> None:
    """Write one file of completions from several entries, each with this run's own question.

    An entry may come from another run, which asked the same tokens but of requests in other
    categories. The file is replaced as a whole: readers of an earlier call's record may need it.
    """
    questions = [question for asked, _ in said for question in asked]
    files = [entry.folder / "completions.jsonl" for _, entry in said]
    texts = [item.text for path in files for item in read_completions(path)]
    write_atomically(whole, completion_lines(questions, texts))

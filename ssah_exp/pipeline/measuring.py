"""Putting every question to one arm, judging the answers, keeping them in the run's folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.judges import HarmJudge, Judge
from ssah_exp.evaluation.metrics import arm_metrics
from ssah_exp.evaluation.mt_bench.conversations import read_answers
from ssah_exp.evaluation.mt_bench.metrics import mt_bench_judge, mt_bench_metrics
from ssah_exp.evaluation.questions import Prompt, Question, read_completions
from ssah_exp.evaluation.utility.metrics import utility_metrics
from ssah_exp.interventions.ablate import Ablation
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages import Stages, read_losses, read_outcomes


@dataclass(frozen=True)
class Measuring:
    """What all arms of a run are measured with.

    Attributes:
        stages: The cached stages.
        judges: By name.
        folder: The run's folder.
        questions: Put to every arm.
        prompts: Their tokens.
        bench: The judge of MT-bench; None = not asked.
    """

    stages: Stages
    judges: Mapping[str, Judge]
    folder: Path
    questions: Sequence[Question]
    prompts: Sequence[Prompt]
    bench: HarmJudge | None = None

    @classmethod
    def of(cls, stages: Stages, judges: Mapping[str, Judge], folder: Path) -> Measuring:
        """With the config's questions."""
        return cls(stages, judges, folder, *stages.questions(), mt_bench_judge(stages.config))

    def measure(
        self, name: str, ref: ModelRef, ablation: Ablation | None, place: str
    ) -> tuple[dict[str, Estimate], str]:
        """Every metric of one arm, and where its completions lie in the run's folder.

        Args:
            name: The arm's name.
            ref: Its model.
            ablation: What is ablated in it.
            place: ``[2/14]``, for the progress bar.
        """
        stages = self.stages
        label = f"{place} {name}"
        answers = stages.answers(ref, ablation, self.questions, self.prompts, f"{label} answers")
        stages.reporter.done(f"answers {name}", answers)
        losses = stages.losses(ref, ablation, f"{label} perplexity")
        stages.reporter.done(f"losses {name}", losses)
        copy = f"completions/{name.replace('/', '-')}.jsonl"
        (self.folder / copy).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(answers.folder / "completions.jsonl", self.folder / copy)
        metrics = arm_metrics(
            read_completions(self.folder / copy),
            read_losses(losses),
            self.judges,
            stages.config.evaluation,
        )
        metrics |= self._utility(name, ref, ablation, label)
        return metrics | self._mt_bench(name, ref, ablation, label), copy

    def _utility(
        self, name: str, ref: ModelRef, ablation: Ablation | None, label: str
    ) -> dict[str, Estimate]:
        """Tasks of the harness, each a cache entry of its own."""
        stages, utility = self.stages, self.stages.config.utility
        if not utility.tasks:
            return {}
        outcomes = []
        for task in utility.tasks:
            entry = stages.utility(task, ref, ablation, f"{label} {task}")
            stages.reporter.done(f"{task} {name}", entry)
            outcomes.append(read_outcomes(entry))
        return utility_metrics(outcomes, utility, stages.config.evaluation.confidence)

    def _mt_bench(
        self, name: str, ref: ModelRef, ablation: Ablation | None, label: str
    ) -> dict[str, Estimate]:
        """Two turns of conversation, and what the judge says of them."""
        stages = self.stages
        if self.bench is None:
            return {}
        entry = stages.mt_bench(ref, ablation, f"{label} MT-bench")
        stages.reporter.done(f"mt_bench {name}", entry)
        copy = self.folder / "mt_bench" / f"{name.replace('/', '-')}.jsonl"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(entry.folder / "answers.jsonl", copy)
        return mt_bench_metrics(read_answers(copy), self.bench, stages.config.evaluation)

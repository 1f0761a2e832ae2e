"""Evaluation: answers, judges, attacks, benchmarks, the probe."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from ssah_exp.config.schema.target import Target


@dataclass
class PerplexityConfig:
    """Held-out text: non-overlapping windows of ``window`` tokens, at most ``max_tokens``.

    Attributes:
        window: Tokens, or ``max``: the longest sequence the model takes (the paper's choice; 4096
            for Llama 2).
        max_tokens: Tokens of the text to use, from its beginning; null = all.
        batch_size: Windows per forward pass.
        bos: Whether every window begins with the tokenizer's beginning-of-text token; null = in
            families that read no text without it (Gemma). Elsewhere the first window alone has
            what the tokenizer puts there, as published.
    """

    window: int | str = 1024
    max_tokens: int | None = None
    batch_size: int = 4
    bos: bool | None = None


@dataclass
class VllmConfig:
    """Memory and cards for ``engine: vllm``; none of it enters the run id.

    Attributes:
        gpu_memory_utilization: Share of each card's memory that vLLM takes, weights included.
        max_model_len: Tokens of the longest prompt with its answer; null = what the model allows.
            A run with a longer one is refused.
        tensor_parallel_size: Cards that the model is split over.
    """

    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None
    tensor_parallel_size: int = 1


@dataclass
class AttackConfig:
    """One attack on every arm.

    Attributes:
        method: A ``ssah_exp.evaluation.attacks`` class with its budget.
        styles: Prompt styles of the attacked requests, one ASR each.
        requests: How many harmful requests to attack, spread evenly over the set; null = all.
    """

    method: Target = MISSING
    styles: list[str] = field(default_factory=lambda: ["raw"])
    requests: int | None = None


@dataclass
class UtilityConfig:
    """Tasks of lm-evaluation-harness that every arm is given; no tasks = no benchmark.

    Attributes:
        tasks: Names in :data:`ssah_exp.config.utility.TASK_METRICS`.
        limit: How many examples of each task (for MMLU: of each subject), from the first; null =
            all.
        metric: ``acc`` or ``acc_norm`` (length-normalised): the one in tables and the mean where a
            task has both. Records hold both.
        fewshot: Task -> shots; other tasks have the harness's own number.
        source: ``hub``, or ``files`` below ``root``.
        root: Folder with ``utility/``, ``gsm8k/`` and ``mmlu/``, for ``source: files``.
        batch_size: Sequences per forward pass.
    """

    tasks: list[str] = field(default_factory=list)
    limit: int | None = 200
    metric: str = "acc"
    fewshot: dict[str, int] = field(default_factory=dict)
    source: str = "hub"
    root: str | None = None
    batch_size: int = 8


@dataclass
class MtBenchConfig:
    """Conversations of two turns, scored from 1 to 10 by an LLM; no judge = no conversations.

    Attributes:
        judge: :class:`ssah_exp.evaluation.judges.EndpointJudge` without its rubric.
        questions: JSON lines with ``question_id``, ``category`` and two ``turns``.
        prompts: JSON lines of judge prompts, as FastChat publishes them.
        references: JSON lines of reference answers to the questions that need one.
        limit: How many questions, from the first; null = all.
        max_new_tokens: Longest answer in tokens; decoding is greedy.
        batch_size: Conversations per generation batch.
    """

    judge: Target | None = None
    questions: str | None = None
    prompts: str | None = None
    references: str | None = None
    limit: int | None = None
    max_new_tokens: int = 1024
    batch_size: int = 16


@dataclass
class EvaluationConfig:
    """What is asked of every arm.

    Attributes:
        harmful_styles: Prompt styles in which harmful requests are asked, one ASR each.
        benign_style: Prompt style of benign requests.
        system_prompt: Text for styles that carry a system prompt.
        max_new_tokens: Greedy continuation length in tokens.
        engine: ``transformers``, or ``vllm``, which enters the run id: its kernels round
            differently.
        vllm: See :class:`VllmConfig`.
        batch_size: Prompts per generation batch.
        share_prefix: Compute the key-value cache of a common prompt prefix once per batch.
        judges: ``ssah_exp.evaluation.judges`` classes by name.
        primary_judge: Name of the judge that leads tables.
        confidence: Level of every interval.
        bootstrap_resamples: Resamples for intervals of means.
        perplexity: See :class:`PerplexityConfig`.
        attacks: Attacks by name; none by default.
        mean_with: Attack whose columns join those of the styles in a further mean ASR. The paper's
            printed average for Llama-2 is such a mean, with the worst of three suffixes in one
            style.
    """

    harmful_styles: list[str] = field(default_factory=lambda: ["raw", "raw_system"])
    benign_style: str = "chat"
    system_prompt: str = MISSING
    max_new_tokens: int = 256
    engine: str = "transformers"
    vllm: VllmConfig = field(default_factory=VllmConfig)
    batch_size: int = 32
    share_prefix: bool = True
    judges: dict[str, Target] = MISSING
    primary_judge: str = MISSING
    confidence: float = 0.95
    bootstrap_resamples: int = 2000
    perplexity: PerplexityConfig = field(default_factory=PerplexityConfig)
    attacks: dict[str, AttackConfig] = field(default_factory=dict)
    mean_with: str | None = None


@dataclass
class ProbeConfig:
    """Reasoning-direction probe, protocol section 7.

    Attributes:
        style: Prompt style of all requests.
        benign: How refusals begin; each is appended to every harmful request.
        malicious: How compliant answers begin; appended likewise.
        steps: Generated tokens after which hidden states are compared.
        distances: ``cosine``, ``angular`` and/or ``l2``.
        continuation: ``own``: every input is continued greedily; ``bare``: all are continued with
            the bare request's greedy tokens, so that texts differ in the opening alone.
        smoothing: Blocks in the moving average of the absolute difference, odd.
        folds: Folds of the linear probe's cross-validation, over requests.
        shuffles: How often the probe's labels are shuffled for the control.
        strength: Inverse of the probe's L2 penalty.
    """

    style: str = "chat"
    benign: list[str] = field(default_factory=list)
    malicious: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=lambda: [2, 4, 6, 8, 10])
    distances: list[str] = field(default_factory=lambda: ["cosine"])
    continuation: str = "own"
    smoothing: int = 3
    folds: int = 5
    shuffles: int = 5
    strength: float = 0.01

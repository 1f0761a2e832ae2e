"""The schema of every config group.

Hydra composes YAML from ``conf/``; :func:`ssah_exp.config.compose.parse` merges it into these
dataclasses, so an unknown key or a value of the wrong type is an error. Ranges are checked in
:mod:`ssah_exp.config.validate`. Nodes typed :data:`Target` hold a ``_target_`` and are checked
against the signature of the class they name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

Target = dict[str, Any]


@dataclass
class ModelConfig:
    """Which weights, and how they are held in memory.

    Attributes:
        name: Name used in tables.
        source: A ``ssah_exp.models.sources`` class with its arguments.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        device_map: For models larger than one card, in identification and evaluation: ``auto``,
            ``balanced``, ``balanced_low_0``, ``sequential``, or module name -> device (a number,
            ``cpu``, ``disk``); null = ``device``.
        offload_folder: Where weights go that ``device_map`` places on ``disk``.
        attn_implementation: Attention kernel as transformers names it.
        pad_token: Only if the tokenizer has none: the token to pad with.
        end_of_turn: Token that closes an assistant turn in the chat template.
        trust_remote_code: Run code from the model repository. Off unless asked for.
    """

    name: str = MISSING
    source: Target = MISSING
    precision: str = "float32"
    device: str = "auto"
    device_map: Any = None
    offload_folder: str | None = None
    attn_implementation: str = "sdpa"
    pad_token: str | None = None
    end_of_turn: str = MISSING
    trust_remote_code: bool = False


@dataclass
class DataConfig:
    """Every data set of a run. Each source is a ``ssah_exp.data.sources`` class.

    Attributes:
        name: Name used in tables.
        root: Folder that sources may refer to as ``${data.root}``.
        alignment: Requests with the answers to train on, one source after the other.
        safety_calibration: Harmful requests with refusals.
        utility_calibration: Benign requests with answers.
        harmful_eval: Held-out harmful requests.
        benign_eval: Held-out plain requests.
        borderline_eval: Held-out harmless requests worded like harmful ones (over-refusal).
        text: Held-out running text.
        finetune: What an aligned model is fine-tuned on in attacks and defences, one source after
            the other.
        preferences: Pairs of a chosen and a rejected answer for DPO; null = refusals against the
            unaligned model's answers.
    """

    name: str = MISSING
    root: str | None = None
    alignment: list[Target] = MISSING
    safety_calibration: Target = MISSING
    utility_calibration: Target = MISSING
    harmful_eval: Target = MISSING
    benign_eval: Target = MISSING
    borderline_eval: Target = MISSING
    text: Target = MISSING
    finetune: list[Target] = field(default_factory=list)
    preferences: Target | None = None


@dataclass
class TuningConfig:
    """Hyper-parameters of any fine-tuning.

    Attributes:
        prompt_styles: Styles of the training prompts, example by example in turn.
        epochs: Passes over the data.
        batch_size: Conversations per step.
        learning_rate: Peak rate of AdamW.
        weight_decay: Of AdamW.
        warmup_share: Share of the steps over which the rate rises; then it falls to zero.
        gradient_clip: Largest gradient norm; 0 = no limit.
        max_length: Longest conversation in tokens; longer ones are cut.
    """

    prompt_styles: list[str] = field(default_factory=lambda: ["chat"])
    epochs: int = 3
    batch_size: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    warmup_share: float = 0.05
    gradient_clip: float = 1.0
    max_length: int = 256


@dataclass
class AlignmentConfig(TuningConfig):
    """Supervised fine-tuning that turns the unaligned model into the aligned one.

    ``enabled: false`` is for models that come aligned; the other fields then have no effect.

    Attributes:
        enabled: Train at all.
    """

    enabled: bool = True


@dataclass
class OthersConfig:
    """Whether parameters that no unit owns are trained; null = the policy's default.

    The default is to train them under ``none`` and ``freeze`` and to leave them under ``budget``.

    Attributes:
        embeddings: Token embeddings.
        norms: All norms, and biases of output projections.
        lm_head: The vocabulary projection; where it is tied, it is the embeddings.
    """

    embeddings: bool | None = None
    norms: bool | None = None
    lm_head: bool | None = None


@dataclass
class ArmConfig:
    """One way of fine-tuning: what is trained, and for how long.

    Attributes:
        policy: ``none`` (everything), ``freeze`` (everything but the selected units) or
            ``budget`` (the selected units only).
        select: A ``ssah_exp.units.selectors`` class; null under ``none``.
        controls: Control sets to train beside it: ``random`` and/or ``matched``.
        overlap: Whether control sets may share units with the set itself; needed where it holds
            most of a layer.
        others: See :class:`OthersConfig`.
        adapter: A ``ssah_exp.training.adapters`` class; null = the weights themselves.
        epochs: Passes over the data; null = ``training.epochs``.
        learning_rate: Peak rate; null = ``training.learning_rate``. Adapters want a higher one.
        match_loss: Name of the arm whose final training loss ends this one early.
        first: Another arm whose policy trains ``first_epochs`` epochs before this one's ``epochs``.
        first_epochs: See ``first``.
    """

    policy: str = "none"
    select: Target | None = None
    controls: list[str] = field(default_factory=list)
    overlap: bool = False
    others: OthersConfig = field(default_factory=OthersConfig)
    adapter: Target | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    match_loss: str | None = None
    first: str | None = None
    first_epochs: int = 1


@dataclass
class TrackConfig:
    """Following the classes of units while an arm is trained; changes no weight.

    Attributes:
        every: Optimizer steps between two looks; null = do not look.
        examples: Of each calibration set, how many a look runs through the model.
    """

    every: int | None = None
    examples: int = 16


@dataclass
class TrainingConfig(TuningConfig):
    """Fine-tuning under one policy after another, from one and the same model.

    Attributes:
        start: ``aligned`` (attack and defence, paper section 4) or ``unaligned`` (alignment
            budget, section 5).
        data: ``finetune`` (``data.finetune``) or ``alignment`` (``data.alignment``).
        objective: ``sft`` or ``dpo``.
        dpo_beta: How strongly DPO holds the model to where it started.
        optimizer: ``adamw`` or ``adamw_8bit`` (bitsandbytes).
        accumulate: Batches per optimizer step; their mean losses are averaged.
        gradient_checkpointing: Recompute activations in the backward pass.
        loss_examples: Training examples over which the final training loss is measured.
        check_every: Steps between two looks at that loss where it may end an arm.
        control_draws: Control sets of each kind for each arm that asks for controls.
        match_pool: Candidates per unit for matched controls.
        arms: By name, in the order of the table.
        track: See :class:`TrackConfig`.
    """

    start: str = "aligned"
    data: str = "finetune"
    objective: str = "sft"
    dpo_beta: float = 0.1
    optimizer: str = "adamw"
    accumulate: int = 1
    gradient_checkpointing: bool = False
    loss_examples: int = 64
    check_every: int = 10
    control_draws: int = 1
    match_pool: int = 5
    arms: dict[str, ArmConfig] = field(default_factory=dict)
    track: TrackConfig = field(default_factory=TrackConfig)


@dataclass
class BudgetsConfig:
    """Class budgets, protocol section 1-2: shares of ``unit``, assigned RU, then SCU, then UCU."""

    scu: float = 0.01
    ucu: float = 0.10
    ru: float = 0.10
    unit: str = "params"
    overlap: str = "overwrite"


@dataclass
class UnitsConfig:
    """Statistics, scores and classes.

    Attributes:
        statistic: ``variance`` (exact) or ``flap`` (the precursor's running statistic).
        tokens: ``response`` or ``all``: which positions count.
        samples: Sequences per calibration set.
        min_samples: Fewer usable sequences than this is an error.
        max_length: Longest sequence in tokens.
        batch_size: Sequences per forward pass; changes no score beyond rounding.
        prompt_style: How calibration prompts are rendered.
        square_attention: Square attention channel scores before normalising.
        budgets: See :class:`BudgetsConfig`.
    """

    statistic: str = "variance"
    tokens: str = "response"
    samples: int = 128
    min_samples: int = 8
    max_length: int = 512
    batch_size: int = 8
    prompt_style: str = "chat"
    square_attention: bool = True
    budgets: BudgetsConfig = field(default_factory=BudgetsConfig)


@dataclass
class ControlsConfig:
    """Null distributions: ``draws`` control sets of each kind for each class in ``of``."""

    kinds: list[str] = field(default_factory=lambda: ["random", "matched"])
    of: list[str] = field(default_factory=lambda: ["SCU", "RU"])
    draws: int = 3
    match_pool: int = 5


@dataclass
class AblationConfig:
    """Which classes are pruned and what replaces their activations.

    Attributes:
        classes: Unit classes, pruned one at a time; none = dense models only.
        fills: ``safety``, ``utility``, ``pooled`` (calibration means) and/or ``zero``.
        primary_fill: The fill every class and every control gets.
        fills_of: Classes that also get the other fills.
        controls: See :class:`ControlsConfig`.
    """

    classes: list[str] = field(default_factory=lambda: ["SCU", "UCU", "CU", "RU"])
    fills: list[str] = field(default_factory=lambda: ["pooled", "safety", "utility", "zero"])
    primary_fill: str = "pooled"
    fills_of: list[str] = field(default_factory=lambda: ["SCU", "UCU", "CU", "RU"])
    controls: ControlsConfig = field(default_factory=ControlsConfig)


@dataclass
class PerplexityConfig:
    """Held-out text: non-overlapping windows of ``window`` tokens, at most ``max_tokens``.

    Attributes:
        window: Tokens, or ``max``: the longest sequence the model takes (the paper's choice; 4096
            for Llama 2).
        max_tokens: Of the text; null = all.
        batch_size: Windows per forward pass.
    """

    window: int | str = 1024
    max_tokens: int | None = None
    batch_size: int = 4


@dataclass
class AttackConfig:
    """One attack on every arm.

    Attributes:
        method: A ``ssah_exp.evaluation.attacks`` class with its budget.
        styles: Prompt styles the attacked requests are put in, one ASR each.
        requests: Harmful requests to attack, spread evenly over the set; null = all.
    """

    method: Target = MISSING
    styles: list[str] = field(default_factory=lambda: ["raw"])
    requests: int | None = None


@dataclass
class UtilityConfig:
    """Tasks of lm-evaluation-harness put to every arm; no tasks = none are.

    Attributes:
        tasks: Names in :data:`ssah_exp.config.utility.TASK_METRICS`.
        limit: First examples of each task (for MMLU: of each subject); null = all.
        metric: ``acc`` or ``acc_norm`` (length-normalised): which leads tables and the mean where
            a task has both. Records hold both.
        fewshot: Shots by task, where the harness's own number is not wanted.
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
    """Conversations of two turns, scored from 1 to 10 by an LLM; no judge = none are held.

    Attributes:
        judge: :class:`ssah_exp.evaluation.judges.EndpointJudge` without its rubric.
        questions: JSON lines with ``question_id``, ``category`` and two ``turns``.
        prompts: JSON lines of judge prompts, as FastChat publishes them.
        references: JSON lines of reference answers to the questions that need one.
        limit: First questions; null = all.
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
        harmful_styles: Prompt styles under which harmful requests are put, one ASR each.
        benign_style: Prompt style of benign requests.
        system_prompt: Text for styles that carry a system prompt.
        max_new_tokens: Greedy continuation length in tokens.
        engine: ``transformers``, or ``vllm``, whose kernels round otherwise: it enters the run id.
        batch_size: Prompts per generation batch.
        share_prefix: Compute the key-value cache of a common prompt prefix once per batch.
        judges: ``ssah_exp.evaluation.judges`` classes; the first one leads the table.
        confidence: Level of every interval.
        bootstrap_resamples: For intervals of means.
        perplexity: See :class:`PerplexityConfig`.
        attacks: By name; none by default.
        mean_with: Attack whose columns join those of the styles in a further mean ASR. The paper's
            printed average for Llama-2 is this, with the worst of three suffixes in one style.
    """

    harmful_styles: list[str] = field(default_factory=lambda: ["raw", "raw_system"])
    benign_style: str = "chat"
    system_prompt: str = MISSING
    max_new_tokens: int = 256
    engine: str = "transformers"
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
        benign: How refusals begin; each is put behind every harmful request.
        malicious: How compliant answers begin.
        steps: Generated tokens after which hidden states are compared.
        distances: ``cosine``, ``angular`` and/or ``l2``.
        continuation: ``own``: every input is continued greedily; ``bare``: all are continued with
            the bare request's greedy tokens, so that texts differ in the opening alone.
        smoothing: Blocks in the moving average of the absolute difference, odd.
        folds: Cross-validation of the linear probe, over requests.
        shuffles: Times its labels are shuffled for the control.
        strength: Inverse of its L2 penalty.
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


@dataclass
class CalibrationConfig:
    """Another way to calibrate a run's model; what is null stays as in the run.

    Attributes:
        differs: What a reader should know it differs in, e.g. ``safety data``.
        safety: Harmful requests with refusals, or without (``own_refusals``).
        utility: Benign requests with answers.
        own_refusals: Take from ``safety`` the requests alone, have the model answer them, and keep
            what the primary judge calls a refusal.
        tokens: ``response`` or ``all``.
        seed: Draws other examples of the same sources.
        floor: Unrelated to safety: shown, but no part of the consensus.
    """

    differs: str = MISSING
    safety: Target | None = None
    utility: Target | None = None
    own_refusals: bool = False
    tokens: str | None = None
    seed: int | None = None
    floor: bool = False


@dataclass
class AtlasConfig:
    """What `ssah-exp units atlas` compares the units of a run with; no run reads it.

    Attributes:
        pool: Examples of each of the run's own calibration sources that draws of every size are
            taken from; 0 = leave sizes out.
        settings: By name.
    """

    pool: int = 0
    settings: dict[str, CalibrationConfig] = field(default_factory=dict)


@dataclass
class TrainerConfig:
    """Arguments of Lightning's Trainer that change where, not what, is computed.

    Attributes:
        accelerator: As Lightning names it.
        devices: Processes on each machine, each with a device of its own.
        num_nodes: Machines; more than one need a launcher on each (docs/distributed.md).
        strategy: ``ddp``: every process holds the model, examples are split; ``fsdp2``: weights,
            gradients and optimizer states are split, too; ``auto``: ``ddp`` where there is more
            than one process.
        progress: Show bars where a person looks on.
        checkpoint_minutes: Time between two checkpoints that a killed training goes on from;
            null = only when a scheduler asks the process to end.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    progress: bool = True
    checkpoint_minutes: float | None = 5.0


@dataclass
class TrackerConfig:
    """Where finished records are mirrored; the record on disk decides."""

    target: Target | None = None


@dataclass
class PathsConfig:
    """Where runs and cache entries lie. No path enters a run id."""

    root: str = "outputs"


@dataclass
class RunConfig:
    """A whole run."""

    artefact: str = "table1_pruning"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    units: UnitsConfig = field(default_factory=UnitsConfig)
    ablation: AblationConfig = field(default_factory=AblationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    utility: UtilityConfig = field(default_factory=UtilityConfig)
    mt_bench: MtBenchConfig = field(default_factory=MtBenchConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    atlas: AtlasConfig = field(default_factory=AtlasConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)

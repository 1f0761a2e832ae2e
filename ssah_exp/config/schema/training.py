"""Training: what every fine-tuning shares, the alignment, the arms of a training table."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssah_exp.config.schema.target import Target


@dataclass
class TuningConfig:
    """Hyper-parameters of any fine-tuning.

    Attributes:
        prompt_styles: Styles of the training prompts, which take turns from example to example.
        epochs: Passes over the data.
        batch_size: Conversations per batch; a batch is a step unless batches are accumulated.
        learning_rate: Peak rate of AdamW.
        weight_decay: Weight decay of AdamW, of all that trains: biases, norms and embeddings, too.
        warmup_share: Share of the steps over which the rate rises; then it falls linearly to zero.
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
        enabled: Whether to align at all.
    """

    enabled: bool = True


@dataclass
class OthersConfig:
    """Whether parameters that no unit owns are trained; null = the policy's default.

    By default they are trained under ``none`` and ``freeze`` and left alone under ``budget``.

    Attributes:
        embeddings: Token embeddings.
        norms: All norms, and biases of output projections.
        lm_head: The vocabulary projection. Where it is tied to the embeddings, the two are one
            matrix, and a null follows the other.
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
        controls: Control sets to train beside the arm: any of ``random``, ``matched``,
            ``shifted`` and ``normed``.
        overlap: Whether control sets may share units with the arm's own set; needed where that
            holds most of a layer.
        others: See :class:`OthersConfig`.
        adapter: A ``ssah_exp.training.adapters`` class; null = the weights themselves.
        epochs: Passes over the data; null = ``training.epochs``.
        learning_rate: Peak rate; null = ``training.learning_rate``. Adapters want a higher one.
        match_loss: Name of an earlier arm; reaching its final training loss ends this one early.
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
        examples: Examples of each calibration set that a look runs through the model.
    """

    every: int | None = None
    examples: int = 16


@dataclass
class TrainingConfig(TuningConfig):
    """Fine-tuning under one policy after another, always from the same model.

    Attributes:
        start: ``aligned`` (attack and defence, protocol section 4) or ``unaligned`` (alignment
            budget, protocol section 5).
        data: ``finetune`` (``data.finetune``) or ``alignment`` (``data.alignment``).
        objective: ``sft`` or ``dpo``.
        dpo_beta: How strongly DPO holds the model to where it started.
        optimizer: ``adamw`` or ``adamw_8bit`` (bitsandbytes).
        accumulate: Batches per optimizer step, which is what one batch of all of them would be.
        gradient_checkpointing: Recompute activations in the backward pass.
        loss_examples: Training examples over which the final training loss is measured.
        check_every: Steps between two measurements of that loss in arms with ``match_loss``; it is
            measured once an epoch at least.
        control_draws: Control sets of each kind for each arm that asks for controls.
        match_pool: Candidates per unit for all controls but random ones.
        arms: Arms by name, in the order of the table.
        track: See :class:`TrackConfig`.
        callbacks: Lightning callbacks of plug-ins by name, for the training of every arm.
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
    callbacks: dict[str, Target] = field(default_factory=dict)

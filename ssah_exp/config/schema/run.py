"""A whole run: every group, and where and with what it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssah_exp.config.schema.evaluation import (
    EvaluationConfig,
    MtBenchConfig,
    ProbeConfig,
    UtilityConfig,
)
from ssah_exp.config.schema.inputs import DataConfig, ModelConfig
from ssah_exp.config.schema.target import Target
from ssah_exp.config.schema.training import AlignmentConfig, TrainingConfig
from ssah_exp.config.schema.units import AblationConfig, AtlasConfig, UnitsConfig


@dataclass
class TrainerConfig:
    """Arguments of Lightning's Trainer that change where, not what, is computed.

    Attributes:
        accelerator: As Lightning names it; ``auto`` = where ``model.device`` puts the model.
        devices: Processes on each machine, each with a device of its own.
        num_nodes: Machines; more than one need a launcher on each (docs/distributed.md).
        strategy: ``ddp``: every process holds the model, examples are split; ``fsdp2``: weights,
            gradients and optimizer states are split, too; ``auto``: ``ddp`` where there is more
            than one process.
        progress: Show progress bars, if standard error is a terminal.
        checkpoint_minutes: Minutes between the checkpoints from which a killed training goes on;
            null = save only when a scheduler asks the process to end.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    progress: bool = True
    checkpoint_minutes: float | None = 5.0


@dataclass
class TrackerConfig:
    """Where finished records are mirrored; the record on disk decides.

    Attributes:
        target: A ``ssah_exp.records.trackers`` class; null = nowhere.
    """

    target: Target | None = None


@dataclass
class PathsConfig:
    """Where runs and cache entries lie. No path enters a run id.

    Attributes:
        root: Folder of ``runs/`` and ``cache/``; in the shipped config ``SSAH_ROOT`` if it is set.
    """

    root: str = "outputs"


@dataclass
class RunConfig:
    """A whole run.

    Attributes:
        artefact: Which of the paper's tables or figures it makes; experiments set it.
        seed: Decides draws of examples and controls, training order and searches.
    """

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

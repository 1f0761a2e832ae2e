"""The schema of every config group.

Hydra composes YAML from ``conf/``; :func:`ssah_exp.config.compose.parse` merges it into these
dataclasses, so an unknown key or a value of the wrong type is an error. Ranges are checked in
:mod:`ssah_exp.config.validate`. Nodes typed :data:`Target` hold a ``_target_`` and are checked
against the signature of the class they name.
"""

from __future__ import annotations

from ssah_exp.config.schema.evaluation import (
    AttackConfig,
    EvaluationConfig,
    MtBenchConfig,
    PerplexityConfig,
    ProbeConfig,
    UtilityConfig,
    VllmConfig,
)
from ssah_exp.config.schema.inputs import DataConfig, ModelConfig
from ssah_exp.config.schema.run import PathsConfig, RunConfig, TrackerConfig, TrainerConfig
from ssah_exp.config.schema.target import Target
from ssah_exp.config.schema.training import (
    AlignmentConfig,
    ArmConfig,
    OthersConfig,
    TrackConfig,
    TrainingConfig,
    TuningConfig,
)
from ssah_exp.config.schema.units import (
    AblationConfig,
    AtlasConfig,
    BudgetsConfig,
    CalibrationConfig,
    ControlsConfig,
    UnitsConfig,
)

__all__ = [
    "AblationConfig",
    "AlignmentConfig",
    "ArmConfig",
    "AtlasConfig",
    "AttackConfig",
    "BudgetsConfig",
    "CalibrationConfig",
    "ControlsConfig",
    "DataConfig",
    "EvaluationConfig",
    "ModelConfig",
    "MtBenchConfig",
    "OthersConfig",
    "PathsConfig",
    "PerplexityConfig",
    "ProbeConfig",
    "RunConfig",
    "Target",
    "TrackConfig",
    "TrackerConfig",
    "TrainerConfig",
    "TrainingConfig",
    "TuningConfig",
    "UnitsConfig",
    "UtilityConfig",
    "VllmConfig",
]

"""Trackers mirror finished records; a run never depends on one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.records.record import RunRecord


class Tracker(Protocol):
    """Somewhere a record is shown."""

    def mirror(self, record: RunRecord, folder: Path) -> str:
        """Send a finished record; return where it can be seen."""


@dataclass(frozen=True)
class WandbTracker:
    """Weights & Biases, offline unless told otherwise.

    Attributes:
        project: W&B project.
        mode: ``offline``, ``online`` or ``auto`` (online if ``WANDB_API_KEY`` is set).
        completions: Also upload completions to harmful requests. Off unless asked for.
    """

    project: str = "ssah-exp"
    mode: str = "auto"
    completions: bool = False

    def __post_init__(self) -> None:
        """Refuse a mode that W&B would take for another.

        Raises:
            ConfigError: Unknown mode.
        """
        modes = ("auto", "online", "offline")
        if self.mode not in modes:
            raise ConfigError(f"tracker.target.mode={self.mode}.{did_you_mean(self.mode, modes)}")

    def mirror(self, record: RunRecord, folder: Path) -> str:
        """Log every metric with its interval, the class shares and the UnitMap."""
        import wandb

        online = self.mode == "online" or (
            self.mode == "auto" and bool(os.environ.get("WANDB_API_KEY"))
        )
        run = wandb.init(
            project=self.project,
            id=record.run_id,
            name=f"{record.artefact}-{record.run_id}",
            group=record.artefact,
            tags=[record.artefact, str(record.config["model"]["name"])],
            config={**record.config, "inputs": record.inputs, "provenance": record.provenance},
            mode="online" if online else "offline",
            dir=str(folder),
            resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )
        run.summary.update(flat_metrics(record))
        run.log({"classes": _class_table(record), "arms": _arm_table(record)})
        if (folder / "unitmap").is_dir():
            artifact = wandb.Artifact(f"unitmap-{record.run_id}", type="unitmap")
            artifact.add_dir(str(folder / "unitmap"))
            run.log_artifact(artifact)
        if self.completions and (folder / "completions").is_dir():
            answers = wandb.Artifact(f"completions-{record.run_id}", type="completions")
            answers.add_dir(str(folder / "completions"))
            run.log_artifact(answers)
        place = run.url if online else str(Path(run.dir).parent)
        run.finish()
        return str(place)


def flat_metrics(record: RunRecord) -> dict[str, float | int]:
    """``arm/metric``, ``.../low``, ``.../high`` and ``.../n`` for everything measured."""
    flat: dict[str, float | int] = {}
    for arm in record.arms:
        for name, estimate in arm.metrics.items():
            values = {"": estimate.value, "/low": estimate.low, "/high": estimate.high}
            for suffix, value in values.items():
                if value is not None:
                    flat[f"{arm.name}/{name}{suffix}"] = value
            flat[f"{arm.name}/{name}/n"] = estimate.n
    return flat


def _class_table(record: RunRecord) -> Any:
    import pandas as pd
    import wandb

    frame = pd.DataFrame.from_dict(record.classes, orient="index")
    return wandb.Table(dataframe=frame.rename_axis("class").reset_index())


def _arm_table(record: RunRecord) -> Any:
    import pandas as pd
    import wandb

    rows = [
        {"arm": arm.name, "metric": name, **item.as_dict()}
        for arm in record.arms
        for name, item in arm.metrics.items()
    ]
    return wandb.Table(dataframe=pd.DataFrame(rows))

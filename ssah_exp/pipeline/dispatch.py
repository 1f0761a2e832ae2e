"""From a config to a finished run with its table printed and its files named."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from ssah_exp import ranks
from ssah_exp.cache import write_atomically
from ssah_exp.config.build import build
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.trainer import uses_cuda
from ssah_exp.config.validate import PROBE, TABLE1, TRAINING_ARTEFACTS
from ssah_exp.errors import ConfigError
from ssah_exp.pipeline.launching import launch
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.probe import run_probe
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.table1 import run_table1
from ssah_exp.pipeline.training_table import run_training_table
from ssah_exp.records.trackers import Tracker
from ssah_exp.reporting.artefacts import render_artefact

# The tokenizers library warns when a process forks after using threads; nothing here forks.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

Pipeline = Callable[[RunConfig, Reporter], Finished]
PIPELINES: dict[str, Pipeline] = {
    TABLE1: run_table1,
    **dict.fromkeys(TRAINING_ARTEFACTS, run_training_table),
    PROBE: run_probe,
}
# Of a run's folder, what is named at its end.
_PLACES = ("record.json", "table.md", "unitmap", "completions", "mt_bench", "models", "deltas")


def run(config: RunConfig, watch: Callable[[str], None] = lambda text: None) -> Finished | None:
    """Run ``config.artefact``, mirror its record, print its table.

    Where several processes are asked for and none was started yet, they are started, and this one
    waits for them and returns None.

    Args:
        config: A validated config.
        watch: Told what is being done, often.


    Raises:
        SsahError: Something given is wrong.
    """
    if config.atlas.settings:
        raise ConfigError(
            "No run reads atlas; give it to 'ssah-exp units atlas RUN --set atlas=...'."
        )
    trainer = config.trainer
    if trainer.devices * trainer.num_nodes > 1 and not ranks.expected():
        launch(config)
        return None
    with ranks.joined(trainer.devices, trainer.num_nodes, cuda=uses_cuda(trainer)):
        return _run(config, watch)


def _run(config: RunConfig, watch: Callable[[str], None]) -> Finished:
    console = Console(stderr=True, quiet=not ranks.first())
    bars = config.trainer.progress and console.is_terminal
    reporter = Reporter(console, bars=bars, watch=watch)
    if not console.is_terminal:
        config.trainer.progress = False  # bars are for people
    target = config.tracker.target
    tracker: Tracker | None = None if target is None else build(target, "tracker.target")
    finished = PIPELINES[config.artefact](config, reporter)
    if ranks.first():
        _publish(finished, tracker, reporter)
    return finished


def _publish(finished: Finished, tracker: Tracker | None, reporter: Reporter) -> None:
    table = render_artefact([finished.record], "markdown")
    write_atomically(finished.folder / "table.md", table + "\n")
    if tracker is not None:
        _mirror(tracker, finished, reporter)
    print(table)
    reporter.say("")
    for name in _PLACES:
        if (finished.folder / name).exists():
            reporter.say(f"{name:<12} {finished.folder / name}")


def _mirror(tracker: Tracker, finished: Finished, reporter: Reporter) -> None:
    """Send the record to the tracker; a tracker that fails costs nothing but a warning."""
    marker = Path(finished.folder) / ".mirrored"
    if marker.exists() and not finished.fresh:
        return
    try:
        place = tracker.mirror(finished.record, finished.folder)
    except Exception as error:  # whatever a tracker raises, the record is safe
        warnings.warn(f"The tracker failed: {error}. The record is whole.", stacklevel=2)
        return
    marker.write_text(place, encoding="utf-8")
    reporter.say(f"mirrored to  {place}")

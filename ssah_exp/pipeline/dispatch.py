"""From a config to a finished run with its table printed and its files named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ssah_exp import ranks
from ssah_exp.config.artefacts import PROBE, TABLE1, TRAINING_ARTEFACTS
from ssah_exp.config.build import build
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.trainer import check_place, shards, uses_cuda
from ssah_exp.errors import ConfigError, IncompleteError
from ssah_exp.models.device import check_device
from ssah_exp.pipeline.launching import launch
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.probe import run_probe
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.table1 import run_table1
from ssah_exp.pipeline.tracking import Tracked
from ssah_exp.pipeline.training_table import run_training_table
from ssah_exp.records.record import ASK_AGAIN, RunRecord, unanswered_text
from ssah_exp.records.trackers import Tracker
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.fitted import form_for_people
from ssah_exp.storage import write_atomically

# The tokenizers library warns when a process forks after using threads; nothing here forks.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

Pipeline = Callable[[RunConfig, Reporter], Finished]
PIPELINES: dict[str, Pipeline] = {
    TABLE1: run_table1,
    **dict.fromkeys(TRAINING_ARTEFACTS, run_training_table),
    PROBE: run_probe,
}
# What of a run's folder is named when the run ends.
_PLACES = ("record.json", "table.md", "unitmap", "completions", "mt_bench", "models", "deltas")


def run(config: RunConfig, watch: Callable[[str], None] = lambda text: None) -> Finished:
    """Run ``config.artefact``, mirror its record, print its table.

    If the config asks for several processes and none was started yet, this one starts them, waits
    for them, and returns what their rank 0 finished.

    Args:
        config: A validated config.
        watch: Told often what is being done; while it waits for others, only once that they work.

    Raises:
        SsahError: Something given is wrong.
        IncompleteError: Everything was written, but judges failed on some answers.
    """
    if config.atlas.settings:
        raise ConfigError(
            "No run reads atlas; give it to 'ssah-exp units atlas RUN --set atlas=...'."
        )
    check_place(config)
    trainer = config.trainer
    # Here, not where configs are composed: a job may be frozen on a machine without GPUs. And not
    # where the model is loaded: with everything cached, none is.
    if config.model.device_map is None and not shards(trainer):
        check_device(config.model.device)
    if trainer.devices * trainer.num_nodes > 1 and not ranks.expected():
        watch(f"{trainer.devices} processes at work")
        return launch(config)
    with ranks.joined(trainer.devices, trainer.num_nodes, cuda=uses_cuda(trainer)):
        return _run(config, watch)


def _run(config: RunConfig, watch: Callable[[str], None]) -> Finished:
    console = Console(stderr=True, quiet=not ranks.first())
    bars = config.trainer.progress and console.is_terminal
    reporter = Reporter(console, bars=bars, watch=watch)
    if not console.is_terminal:
        config.trainer.progress = False  # bars are for people
    tracked = _tracked(config, reporter)
    try:
        finished = PIPELINES[config.artefact](config, reporter)
        if ranks.first():
            _publish(finished, tracked, reporter)
    except BaseException as error:
        if tracked is not None:  # a table that could not be written, too, leaves no run open there
            tracked.stopped(error)
        raise
    if ranks.first():
        _check_complete(finished.record)
    return finished


def _tracked(config: RunConfig, reporter: Reporter) -> Tracked | None:
    """The run in its tracker, to which rank 0 talks; None on other ranks, or without a tracker.

    Raises:
        ConfigError: The tracker cannot be used; on every rank, before anything is computed.
    """
    target = config.tracker.target
    if target is None:
        return None
    tracker = build(target, "tracker.target", Tracker)
    if not ranks.first():
        return None
    root = Path(config.paths.root).expanduser()
    reporter.follower = tracked = Tracked(tracker, root, reporter.say)
    return tracked


def _publish(finished: Finished, tracked: Tracked | None, reporter: Reporter) -> None:
    table = render_artefact([finished.record], "markdown")
    write_atomically(finished.folder / "table.md", table + "\n")
    if tracked is not None:
        tracked.finished(finished)
    form = form_for_people()
    print(table if form == "markdown" else render_artefact([finished.record], form))
    reporter.say("")
    for name in _PLACES:
        if (finished.folder / name).exists():
            reporter.say(escape(f"{name:<12} {finished.folder / name}"))


def _check_complete(record: RunRecord) -> None:
    """Do not let a judge's outage, or its spent budget, pass for a finished run.

    Raises:
        IncompleteError: A judge failed on answers.
    """
    if lacking := record.unanswered():
        raise IncompleteError(
            f"Run {record.run_id} is incomplete: {unanswered_text(lacking)}. Record and table say "
            f"so. {ASK_AGAIN}"
        )

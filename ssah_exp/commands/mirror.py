"""`ssah-exp mirror`, `ssah-exp wandb sync`: send records that a tracker does not have yet."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from ssah_exp.commands.records import records_of
from ssah_exp.config.paths import root_of
from ssah_exp.errors import ConfigError, SsahError, StoreError, did_you_mean, printable
from ssah_exp.options.mirror import PROJECT
from ssah_exp.records.mirroring import Mirror
from ssah_exp.records.record import RunRecord
from ssah_exp.records.trackers import CsvTracker, Tracker, TrackioTracker, WandbTracker
from ssah_exp.records.trackers.sweep import working_on
from ssah_exp.sweeps.finding import sweeps_below

# Failures before any success after which the rest is not tried: a key refused once always is.
_PATIENCE = 3


def execute(options: argparse.Namespace) -> int:
    """Send what was chosen; 1 = some of it could not be sent.

    Raises:
        ConfigError: An option that the tracker does not have, or a name that no record has.
        StoreError: No record at all.
    """
    tracker = _tracker(options)
    records, place = records_of(options)
    chosen = _chosen(records, options.only, place)
    mirror = Mirror(tracker, root_of(options.root))
    jobs = _jobs_below(mirror.root)
    sent = there = failed = 0
    for record in chosen:
        name = f"{record.artefact}  {record.run_id}"
        try:
            with working_on(jobs.get(record.run_id)):
                seen = mirror.send(record, again=options.again, say=_say)
        except (SsahError, OSError) as error:
            failed += 1
            _say(f"failed    {name}  {error}")
            if failed >= _PATIENCE and not sent:
                break
            continue
        sent, there = sent + (seen is not None), there + (seen is None)
        if seen is not None:
            print(printable(f"mirrored  {name}  {seen}"), flush=True)
    left = len(chosen) - sent - there - failed
    print(f"{sent} mirrored, {there} there already, {failed} failed, {left} not tried")
    return 1 if failed else 0


def _tracker(options: argparse.Namespace) -> Tracker:
    if options.tracker == "wandb":
        return WandbTracker(
            project=options.project,
            mode="offline" if options.offline else "online",
            completions=options.completions,
            deltas=not options.no_deltas,
        )
    if options.offline:
        raise ConfigError(f"--offline is for wandb; {options.tracker} writes local files only.")
    if options.tracker == "trackio":
        return TrackioTracker(
            project=options.project, completions=options.completions, deltas=not options.no_deltas
        )
    given = {
        "--completions": options.completions,
        "--no-deltas": options.no_deltas,
        "--project": options.project != PROJECT,
    }
    if unread := [option for option, is_given in given.items() if is_given]:
        raise ConfigError(f"{unread[0]} is for wandb and trackio; csv holds tables only.")
    return CsvTracker()


def _chosen(records: list[RunRecord], only: list[str], place: str) -> list[RunRecord]:
    if not records:
        raise StoreError(f"No record {place}.")
    names = {name for record in records for name in (record.artefact, record.run_id)}
    for name in only:
        if name not in names:
            raise ConfigError(f"No record of '{name}' {place}.{did_you_mean(name, names)}")
    return [item for item in records if not only or {item.artefact, item.run_id} & set(only)]


def _jobs_below(root: Path) -> dict[str, Path]:
    """Run id -> folder of the newest job that made it, as far as its sweep is still there.

    Sweeps that cannot be read are left out: records can be sent without their jobs.
    """
    found: dict[str, Path] = {}
    with suppress(StoreError, OSError):
        for sweep in sweeps_below(root):
            with suppress(StoreError, OSError):
                found |= {run: job.folder for job in sweep.jobs() if (run := job.state().run_id)}
    return found


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)

"""Trackers mirror runs; no run depends on one.

A tracker shows a run while it works (its stages, the machine's load) and its record at the end;
whatever the tracker makes of them, the record on disk decides.
"""

from ssah_exp.records.trackers.base import LiveRun, RunHead, Tracker
from ssah_exp.records.trackers.csv_tracker import CsvTracker
from ssah_exp.records.trackers.trackio_tracker import TrackioTracker
from ssah_exp.records.trackers.wandb_tracker import WandbTracker

__all__ = [
    "CsvTracker",
    "LiveRun",
    "RunHead",
    "Tracker",
    "TrackioTracker",
    "WandbTracker",
]

"""Sweeps on a real Slurm: killed, drained, queued again, out of disk, side by side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.records.store import RecordStore
from ssah_exp.sweeps.finding import sweeps_below
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.state import RUNNING
from tests.processes import until
from tests.slurm import cluster
from tests.sweeps.tiny_sweep import Bench

pytestmark = pytest.mark.slurm
TABLE = "table1_pruning"
SLURM = ("-m", "hydra/launcher=slurm", "hydra.launcher.minutes=30", "hydra.launcher.parallel=2")
# So many epochs of the tiny alignment that a test can act while it trains.
LONG = ("alignment.epochs=1500", "trainer.checkpoint_minutes=null")


def submitted(bench: Bench, *arguments: str) -> Sweep:
    """Submit a sweep; the command must come back although its jobs have hardly begun."""
    before = {sweep.name for sweep in sweeps_below(bench.root)}
    done = bench.call(*bench.arguments(*SLURM, *arguments))
    assert done.returncode == 0, done.stderr
    (sweep,) = [item for item in sweeps_below(bench.root) if item.name not in before]
    return sweep


def settled(bench: Bench, sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """``status --format json`` once no job is queued or running."""

    def look() -> dict[str, Any] | None:
        content = shown(bench, sweep, capsys)
        return None if {"queued", "running"} & set(content["counts"]) else content

    content: dict[str, Any] = until(look, 240)
    return content


def shown(bench: Bench, sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """``status --format json`` within this process."""
    capsys.readouterr()
    assert bench.run("status", sweep.name, "--format", "json", "--root", str(bench.root)) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def idle(slurm: Path) -> None:
    """Wait until nothing of any job is left on the node."""
    conf = slurm / "slurm.conf"
    until(lambda: cluster.ask(conf, "sinfo", "-h", "-o", "%t").startswith("idle"), 60)


def training(sweep: Sweep, number: int) -> int | None:
    """The pid of a job that trains."""
    state = sweep.job(number).state()
    busy = state.status == RUNNING and state.progress.startswith("aligning")
    return state.owner.pid if busy and state.owner is not None else None


def test_eight_jobs_share_stages_and_one_killed_job_is_finished_later(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two seeds by four levels: the alignment of the new seed is computed by one of its jobs."""
    sweep = submitted(bench, "seed=0,1", "evaluation.confidence=0.8,0.9,0.95,0.99")
    victim = sweep.job(2)
    pid = until(lambda: victim.state().status == RUNNING and victim.state().owner).pid
    os.kill(pid, signal.SIGKILL)
    content = settled(bench, sweep, capsys)
    assert content["counts"] == {"done": 7, "failed": 1}
    (failed,) = [job for job in content["jobs"] if job["status"] == "failed"]
    assert failed["job"] == 2
    assert "its process died: Slurm says FAILED" in failed["detail"]
    assert len(RecordStore(bench.root).read(TABLE)) == 7

    assert bench.run("retry-failed", sweep.name, "--root", str(bench.root)) == 0
    content = settled(bench, sweep, capsys)
    assert content["counts"] == {"done": 8}
    assert content["jobs"][2]["attempts"] == 2
    assert len({job["run_id"] for job in content["jobs"]}) == 8
    records = RecordStore(bench.root).read(TABLE)
    assert len(records) == 8
    made = [r for r in records for s in r.stages if s.name == "align" and not s.cached]
    assert len(made) == 1
    assert made[0].seed == 1


def test_a_job_told_that_its_time_is_up_goes_on_from_its_checkpoint(
    bench: Bench, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """USR2, as Slurm sends it before a time limit; then a requeue by the administrator."""
    sweep = submitted(bench, "seed=7", *LONG)
    job = sweep.job(0)
    number = str(job.ticket())
    until(lambda: training(sweep, 0))
    time.sleep(2)
    subprocess.run(["scancel", "--signal=USR2", number], check=True)
    until(lambda: job.state().attempts == 2)
    checkpoint = next((bench.root / "cache" / "align").glob(".partial-*/last.ckpt"))
    first = checkpoint.stat().st_mtime_ns
    until(lambda: training(sweep, 0))
    time.sleep(2)
    subprocess.run(["scontrol", "requeue", number], check=True)
    until(lambda: job.state().attempts == 3)
    assert checkpoint.stat().st_mtime_ns > first
    content = settled(bench, sweep, capsys)
    assert content["counts"] == {"done": 1}
    (record,) = RecordStore(bench.root).read(TABLE)
    assert record.training is not None

    whole = Bench(bench.place, bench.root.with_name("whole"))
    assert whole.call(*whole.arguments("seed=7", *LONG)).returncode == 0
    (other,) = RecordStore(whole.root).read(TABLE)
    assert record.run_id == other.run_id
    assert record.training == other.training, "every loss of every step"
    assert record.models == other.models
    assert record.arms == other.arms


def test_a_drained_node_keeps_jobs_waiting_and_two_sweeps_run_side_by_side(
    bench: Bench, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both sweeps want the alignment of the same new seed; one computes it."""
    node = f"NodeName={cluster.NODE}"
    drain = ["scontrol", "update", node, "State=DRAIN", "Reason=test"]
    subprocess.run(drain, check=True)
    try:
        first = submitted(bench, "seed=3", "evaluation.confidence=0.8,0.9")
        second = submitted(bench, "seed=3", "evaluation.confidence=0.95,0.99")
        time.sleep(3)
        for sweep in (first, second):
            content = shown(bench, sweep, capsys)
            assert content["counts"] == {"queued": 2}
            assert content["jobs"][0]["detail"].startswith("pending: ")
    finally:
        subprocess.run(["scontrol", "update", node, "State=RESUME"], check=True)
    for sweep in (first, second):
        assert settled(bench, sweep, capsys)["counts"] == {"done": 2}
    records = RecordStore(bench.root).read(TABLE)
    assert len(records) == 4
    made = [r for r in records for s in r.stages if s.name == "align" and not s.cached]
    assert len(made) == 1


def test_a_full_store_fails_clearly_and_loses_nothing(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)], check=True)
    try:
        full = Bench(bench.place, disk / "root")
        filler = disk / "filler"
        sweep = submitted(full, "seed=0", "evaluation.confidence=0.8,0.9")
        with filler.open("wb") as stream:
            try:
                while True:
                    stream.write(b"x" * (1 << 16))
                    stream.flush()
            except OSError:
                pass
        content = settled(full, sweep, capsys)
        assert content["counts"] == {"failed": 2}
        assert RecordStore(full.root).read(TABLE) == []
        filler.unlink()
        assert full.run("retry-failed", sweep.name, "--root", str(full.root)) == 0
        assert settled(full, sweep, capsys)["counts"] == {"done": 2}
        assert len(RecordStore(full.root).read(TABLE)) == 2
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_cancel_and_a_controller_that_is_down(
    bench: Bench, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = submitted(bench, "seed=11,12", *LONG)
    until(lambda: training(sweep, 0))
    assert bench.run("cancel", sweep.name, "--root", str(bench.root)) == 0
    content = settled(bench, sweep, capsys)
    assert content["counts"] == {"cancelled": 2}
    assert RecordStore(bench.root).read(TABLE) == []

    idle(slurm)
    cluster.stop(slurm, "slurmctld")
    try:
        content = shown(bench, sweep, capsys)
        assert content["counts"] == {"cancelled": 2}
        assert "controller" in content["note"]
        done = bench.call(*bench.arguments(*SLURM, "evaluation.confidence=0.8,0.9"))
        assert done.returncode == 2
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("ssah-exp: ")]
        assert "Slurm did not take 2 jobs" in line
        assert "Traceback" not in done.stderr
    finally:
        cluster.start_slurmctld(slurm)
    idle(slurm)
    (name,) = [item.name for item in sweeps_below(bench.root) if item.name != sweep.name]
    assert bench.run("retry-failed", name, "--root", str(bench.root)) == 0
    (late,) = [item for item in sweeps_below(bench.root) if item.name == name]
    assert settled(bench, late, capsys)["counts"] == {"done": 2}

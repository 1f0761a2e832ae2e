"""A sweep whose process is killed again and again, at any moment."""

from __future__ import annotations

import io
import random
import time
from contextlib import redirect_stderr
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from ssah_exp.cache import MARKER, Cache
from ssah_exp.lock import seems_held
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RECORD, RecordStore
from ssah_exp.sweeps.batch import run_here
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.state import DONE, UNFINISHED
from ssah_exp.sweeps.status import status_of
from tests.forking import START_METHOD
from tests.sweeps.tiny_sweep import Bench

TABLE = "table1_pruning"
GRID = ("units.budgets.scu=0.05,0.1", "trainer.checkpoint_minutes=0")


def frozen(bench: Bench, seeds: int) -> Sweep:
    """The sweep, submitted, with nothing run: as if its process had died at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ssah_exp.sweeps.batch.run_here", lambda sweep, jobs, tell: [None] * len(jobs)
        )
        bench.run(*bench.arguments("-m", f"seed=range({seeds})", *GRID))
    return bench.sweep()


def what_is_left(sweep: Sweep) -> None:
    """Run it; what is said of it is nobody's business here."""
    torch.set_num_threads(1)
    with redirect_stderr(io.StringIO()):
        run_here(sweep, status_of(sweep).of(*UNFINISHED), lambda line: None)


def in_child(sweep: Sweep, seconds: float | None) -> bool:
    """Run what is left in a process; kill it after a while. Whether it ended by itself."""
    child = get_context(START_METHOD).Process(target=what_is_left, args=(sweep,))
    child.start()
    if seconds is not None:
        time.sleep(seconds)
        child.kill()
    child.join()
    return child.exitcode == 0


def finished_files(root: Path) -> dict[Path, int]:
    """Every whole cache entry and every record, with the inode that a second write would change."""
    entries = (path for path in (root / "cache").glob(f"*/[!.]*/{MARKER}"))
    records = (root / "runs").glob(f"*/*/{RECORD}")
    return {path: path.stat().st_ino for path in (*entries, *records)}


def results(root: Path) -> dict[str, tuple[object, ...]]:
    """What a run found out, without when and how."""
    records: list[RunRecord] = RecordStore(root).read(TABLE)
    return {item.run_id: (item.arms, item.models, item.training, item.classes) for item in records}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [6, 200])
def test_killed_again_and_again_a_sweep_ends_as_if_nothing_had_been(
    bench: Bench, kills: int
) -> None:
    draw, seeds = random.Random(kills), max(2, kills // 10)
    calm = Bench(bench.place, bench.root.with_name("calm"))
    undisturbed = frozen(calm, seeds)
    assert in_child(undisturbed, 0.0) is False, "what is started once is started now"
    started = time.monotonic()
    assert in_child(undisturbed, None)
    whole = time.monotonic() - started
    assert status_of(undisturbed).counts() == {"done": 2 * seeds}

    sweep = frozen(bench, seeds)
    assert status_of(sweep).counts() == {"missing": 2 * seeds}
    seen: dict[Path, int] = {}
    # About half of the undisturbed time passes under kills: enough to hit most stages, and short
    # enough that the sweep outlasts them on a machine that is now three times as quick.
    longest = whole / kills
    killed = 0
    for _ in range(kills):
        killed += not in_child(sweep, draw.uniform(0, longest))
        now = finished_files(bench.root)
        assert seen.items() <= now.items(), "what was finished is made again"
        seen = now
    assert killed > kills / 2, "most of them hit the sweep at work"
    while seems_held(sweep.lock):  # the last one may have been killed before it said who it is
        time.sleep(0.2)
    if status_of(sweep).of(*UNFINISHED):
        assert in_child(sweep, None)
    assert [item.status for item in status_of(sweep).standings] == [DONE] * 2 * seeds
    assert results(bench.root) == results(calm.root)
    assert len(results(bench.root)) == 2 * seeds
    cache = Cache(bench.root / "cache")
    markers = [*(bench.root / "cache").glob(f"*/[!.]*/{MARKER}")]
    assert markers
    for marker in markers:
        assert cache.find(marker.parents[1].name, marker.parent.name).cached

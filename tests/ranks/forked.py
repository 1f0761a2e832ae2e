"""Ranks without the seconds that a launcher's take to import everything."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as mp

from tests.forking import START_METHOD


def run_forked(count: int, work: Callable[[Path], None], folder: Path) -> None:
    """Have ``count`` ranks do ``work(folder)`` side by side, as our launcher would start them."""
    # They meet at a store of this process, as at an agent's: nobody has to guess a free port.
    store = dist.TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60)
    )
    mp.start_processes(  # type: ignore[no-untyped-call]
        _be_rank, args=(count, store.port, work, folder), nprocs=count, start_method=START_METHOD
    )


def _be_rank(rank: int, count: int, port: int, work: Callable[[Path], None], folder: Path) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    work(folder)

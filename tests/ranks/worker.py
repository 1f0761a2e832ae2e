"""One of two processes side by side: does a strategy's jobs, leaves what it ended with."""

from __future__ import annotations

from pathlib import Path

import torch

from ssah_exp import ranks
from tests.ranks import jobs


def main(folder: Path, strategy: str) -> None:
    split = strategy == "fsdp2"
    cases = {**jobs.EVERYWHERE, **({} if split else jobs.WHOLE_ONLY), **jobs.RANDOM}
    torch.set_num_threads(1)
    with ranks.joined(2, 1, cuda=False):
        jobs.forward_jobs(folder, split=split)
        for name, job in cases.items():
            jobs.save(folder, name, *jobs.train(job, strategy))
        for name, how in jobs.ENDED:
            case = f"{name}-{how}"
            result = jobs.train_twice(cases[name], strategy, folder / f"partial-{case}", how)
            jobs.save(folder, case, *result)

"""One of two processes that work side by side: does every job, leaves what it ended with."""

from __future__ import annotations

from pathlib import Path

import torch

from ssah_exp import ranks
from tests.ranks import jobs


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with ranks.joined(2, 1, cuda=False):
        for split in (False, True):
            place = folder / ("split" if split else "whole")
            if ranks.first():
                place.mkdir()
            jobs.forward_jobs(place, split=split)
        for strategy, cases in (
            ("ddp", {**jobs.EVERYWHERE, **jobs.WHOLE_ONLY, **jobs.RANDOM}),
            ("fsdp2", {**jobs.EVERYWHERE, **jobs.RANDOM}),
        ):
            for name, job in cases.items():
                jobs.save(folder, f"{strategy}-{name}", *jobs.train(job, strategy))
            for name, how in jobs.ENDED:
                case = f"{strategy}-{name}-{how}"
                result = jobs.train_twice(cases[name], strategy, folder / f"partial-{case}", how)
                jobs.save(folder, case, *result)

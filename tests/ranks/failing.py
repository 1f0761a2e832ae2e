"""A rank that fails while another one is computing a cache entry with it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from ssah_exp import ranks
from ssah_exp.cache import Cache
from ssah_exp.errors import DataError, SsahError
from ssah_exp.pipeline.worker import tell


def compute(folder: Path) -> None:
    (folder / "half").write_text("written")
    with (Path(sys.argv[1]) / "begun").open("a") as stream:
        stream.write(f"{ranks.rank()}")
    if ranks.rank() == 1:
        if sys.argv[2].startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[sys.argv[2]])
        if sys.argv[2] == "refused":
            raise DataError("data.text is empty.")
    if sys.argv[2] != "well":
        time.sleep(60)
    ranks.everyones(0)


def main() -> int:
    root = Path(sys.argv[1])
    with ranks.joined(2, 1, cuda=False):
        cache = Cache(root / "cache")
        try:
            for together in (False, True):
                entry = cache.get_or_compute(
                    "stage",
                    {"together": together},
                    compute if together else alone,
                    together=together,
                )
                (root / f"{together}-{ranks.rank()}").write_text(f"{entry.digest} {entry.cached}")
        except SsahError as error:
            tell(str(error))
            os._exit(2)
    return 0


def alone(folder: Path) -> None:
    (folder / "by").write_text(str(ranks.rank()))


if __name__ == "__main__":
    sys.exit(main())

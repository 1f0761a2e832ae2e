"""A worker of a run that takes long."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from ssah_exp.pipeline import dispatch, worker


def run(place: Any) -> None:
    (Path(place) / str(os.getpid())).touch()
    time.sleep(600)


if __name__ == "__main__":
    dispatch.run = run  # type: ignore[assignment]
    worker.parse_plain = lambda content: content["place"]  # type: ignore
    sys.exit(worker.main(sys.argv[1]))

"""A worker of a run in which a judge failed: rank 0 says so at the end, the other one is done."""

from __future__ import annotations

import os
import sys
from typing import Any

from ssah_exp.errors import IncompleteError
from ssah_exp.pipeline import dispatch, worker
from ssah_exp.pipeline.opened import Finished


def run(config: Any) -> Finished | None:
    if os.environ["RANK"] == "0":
        raise IncompleteError("Run 1 is incomplete.")
    return None


if __name__ == "__main__":
    dispatch.run = run  # type: ignore[assignment]
    worker.parse_plain = lambda content: content  # type: ignore
    sys.exit(worker.main(sys.argv[1]))

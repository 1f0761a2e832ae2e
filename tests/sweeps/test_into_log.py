"""A job's log, wherever the sweep's own output goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssah_exp.pipeline.worker import flush_printed

JOB = """
import subprocess, sys
from pathlib import Path
from ssah_exp.sweeps.worker import _into_log
other = open(sys.argv[1] + ".other", "w")
for job in range(2):
    with _into_log(Path(sys.argv[1])):
        print("out", job)
        print("err", job, file=sys.stderr, flush=True)
        child = "import sys; print('child', file=sys.stderr)"
        subprocess.run([sys.executable, "-c", child], check=True)
        print("other", job, file=other, flush=True)
print("after", file=sys.stderr)
"""


@pytest.mark.parametrize("closed", [">&-", ""])
def test_a_closed_output_ends_no_sweep(tmp_path: Path, closed: str) -> None:
    """The next file that is opened gets the number of the closed one, and stays what it is."""
    log = tmp_path / "job.log"
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-P", "-c", JOB, str(log)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "after\n")
    lines = [line for job in range(2) for line in (f"out {job}", f"err {job}", "child")]
    assert log.read_text().splitlines() == lines
    assert Path(f"{log}.other").read_text().splitlines() == ["other 0", "other 1"]


def test_a_reader_that_left_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", None)
        print("to nobody")
        flush_printed()
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)

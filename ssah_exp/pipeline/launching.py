"""Starting the processes of one run on this machine, and ending all of them when one fails.

torch's elastic agent, which is also what ``torchrun`` runs, starts and watches them. Over several
machines ``torchrun`` itself is the launcher; the processes it starts join by themselves.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssah_exp.config.schema import RunConfig
from ssah_exp.cores import usable_cores
from ssah_exp.errors import ENDED, INCOMPLETE_RANK, ConfigError, IncompleteError, RankError
from ssah_exp.pipeline.opened import Finished
from ssah_exp.records.record import RunRecord, StageRecord
from ssah_exp.records.store import RECORD
from ssah_exp.signals import handlers_kept

# A rank that is asked to end writes a checkpoint first.
SECONDS_TO_END = 300
# What torch's agent handles while its processes run, and goes on to handle afterwards, by an
# ordinary exception: during the next job of a sweep, Ctrl+C would be a failure of that job.
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# Beside the frozen config: where rank 0 says what came of the run.
_FINISHED = "finished.json"
# What torch calls the error file of a rank that left none.
_NO_FILE = "<N/A>"


def launch(config: RunConfig) -> Finished:
    """Run ``config`` in ``trainer.devices`` processes; wait and return what rank 0 finished.

    They get the config as it is now: a later edit of a file changes nothing for them.

    Raises:
        ConfigError: Several machines are asked for.
        RankError: A process failed; the others were ended.
        IncompleteError: Everything was written, but judges failed on some answers.
        SystemExit: This process was asked to end, and so were they.
        KeyboardInterrupt: The same, by Ctrl+C.
    """
    if config.trainer.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={config.trainer.num_nodes}: start this command on every machine "
            f"with torchrun --nnodes {config.trainer.num_nodes} --nproc-per-node "
            f"{config.trainer.devices} --rdzv-backend c10d --rdzv-endpoint HOST:PORT "
            "-m ssah_exp run ..."
        )
    with tempfile.TemporaryDirectory(prefix="ssah-exp-") as folder:
        frozen = Path(folder) / "config.json"
        frozen.write_text(json.dumps(asdict(config)), encoding="utf-8")
        run_processes(config.trainer.devices, ["-m", "ssah_exp.pipeline.worker", str(frozen)])
        return _read_finished(Path(folder))


def tell_finished(finished: Finished, config: Path) -> None:
    """Tell the waiting process, which wrote ``config``; the record lies on disk already."""
    content = {
        "folder": str(finished.folder),
        "stages": [asdict(stage) for stage in finished.stages],
        "fresh": finished.fresh,
    }
    (config.parent / _FINISHED).write_text(json.dumps(content), encoding="utf-8")


def _read_finished(place: Path) -> Finished:
    content = json.loads((place / _FINISHED).read_text(encoding="utf-8"))
    folder = Path(content["folder"])
    record = RunRecord.from_json((folder / RECORD).read_text(encoding="utf-8"))
    stages = [StageRecord(**stage) for stage in content["stages"]]
    return Finished(record, folder, stages, content["fresh"])


def run_processes(count: int, arguments: list[str]) -> None:
    """Run ``python ARGUMENTS`` as ``count`` ranks on this machine.

    Raises:
        RankError: One failed; the others were ended.
        IncompleteError: A rank ended with this error.
        SystemExit: This process was asked to end, and so were they.
        KeyboardInterrupt: The same, by Ctrl+C.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The agent's account of a failure is long; our error says what happened.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        with _environment(count), handlers_kept(_HANDLED):
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=count,
                run_id=uuid.uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                max_restarts=0,
            )
            elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        if failure.exitcode == ENDED:  # all ranks were asked to end, and did
            raise SystemExit(failure.exitcode) from None
        if failure.exitcode == INCOMPLETE_RANK and (said := _said(failure)):
            raise IncompleteError(said) from None
        raise RankError(_what_happened(number, failure)) from None
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from error
        raise SystemExit(128 + error.sigval) from error


@contextmanager
def _environment(count: int) -> Iterator[None]:
    """What torch and ranks read unless a person set it; afterwards as before, for the next job."""
    wanted = {
        "OMP_NUM_THREADS": str(max(1, usable_cores() // count)),
        # Makes a rank that crashes in a library say where: the signal alone would not.
        "PYTHONFAULTHANDLER": "1",
        # Not by an argument, which torch 2.6 refuses: that one waits 30 seconds in any case.
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SECONDS_TO_END),
    }
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _said(failure: Any) -> str:
    """The message in a failed rank's error file; empty without one, where torch makes one up."""
    if failure.error_file == _NO_FILE:
        return ""
    said = failure.message
    for _ in range(2):  # torch wraps what it reads once more
        said = said.get("message", said) if isinstance(said, dict) else said
    return str(said)


def _what_happened(number: int, failure: Any) -> str:
    said = _said(failure)
    if failure.exitcode == 2 and said:
        return said  # something given is wrong; which rank noticed first says nothing
    if failure.exitcode < 0:
        how = f"was ended by signal {signal.Signals(-failure.exitcode).name}"
    else:
        how = f"failed with exit code {failure.exitcode}"
    reason = f": {said}" if said else ""
    return (
        f"Process {number} {how}{reason}. The others were ended with it; no unfinished result was "
        "kept, and the same command goes on with what is finished."
    )

"""One of the processes of a run: ``python -m ssah_exp.pipeline.worker CONFIG.json``."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

from ssah_exp.config.compose import parse_plain
from ssah_exp.errors import INCOMPLETE_RANK, IncompleteError, SsahError, plain_warnings
from ssah_exp.pipeline.garbage import imports_stay


def main(config: str) -> int:
    """Run it; 0 = done, 1 = failed, 2 = something given is wrong, 3 = done, but judges failed.

    What went wrong goes to the file the launcher named; the launcher says it once.
    """
    launcher = os.getppid()
    try:
        with imports_stay():
            from ssah_exp.pipeline.dispatch import run
        from ssah_exp.pipeline.launching import SECONDS_TO_END, tell_finished

        guard = threading.Thread(target=_end_with, args=(launcher, SECONDS_TO_END), daemon=True)
        guard.start()
        frozen = json.loads(Path(config).read_text(encoding="utf-8"))
        with plain_warnings():
            finished = run(parse_plain(frozen))
        if os.environ["RANK"] == "0":
            tell_finished(finished, Path(config))
    except IncompleteError as error:
        tell(str(error))
        return INCOMPLETE_RANK
    except SsahError as error:
        tell(str(error))
        return 2
    except Exception as error:
        traceback.print_exc()
        tell(f"{type(error).__name__}: {error}")
        return 1
    return 0


def _end_with(launcher: int, seconds: int) -> None:
    """End this process when its launcher was killed, or its card and its locks would stay taken."""
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)  # a training saves a checkpoint first
    time.sleep(seconds)
    os._exit(128 + signal.SIGTERM)


def tell(message: str) -> None:
    """Write a message for torch's elastic agent, in its form; without an agent, to stderr."""
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if place is None:
        print(message, file=sys.stderr)
        return
    content = {"message": {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}}
    Path(place).write_text(json.dumps(content), encoding="utf-8")


def flush_printed() -> None:
    """Flush what was printed, as far as anybody still reads it.

    A stream that was closed before Python started is None; a pipe may have lost its reader.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # ValueError: closed since
                stream.flush()


if __name__ == "__main__":
    code = main(sys.argv[1])
    flush_printed()
    if code:
        # The others may be waiting for this rank: end without asking them.
        os._exit(code)

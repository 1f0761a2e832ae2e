"""One tiny run in a process of its own: ``python -m tests.card.on_card DEVICE KIND FOLDER``.

``DEVICE`` is ``cpu``, or the file of a runtime for the card that is none. Prints the record as
JSON, or what commands say of a finished run, and how many operations the card computed.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

CPU = "cpu"
REOPENED = "reopened"  # no kind of run, but commands that take one up again


def main(device: str, kind: str, folder: Path) -> None:
    """Make one run and print it."""
    if device != CPU:
        # Before anything imports torch: it looks for a runtime once.
        ctypes.CDLL(device, mode=ctypes.RTLD_GLOBAL)
        from tests.card import card

        card.install()
    from tests.card import runs

    if kind == REOPENED:
        found = {"said": runs.reopened(folder)}
    else:
        found = {"record": json.loads(runs.run_of(kind, folder).record.to_json())}
    print(json.dumps({**found, "operations": 0 if device == CPU else card.operations}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))

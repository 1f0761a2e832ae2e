"""One tiny run in a process of its own: ``python -m tests.card.on_card DEVICE KIND FOLDER``.

``DEVICE`` is ``cpu``, or the file of a runtime for the card that is none. Prints the record as
JSON, and how many operations the card computed.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

CPU = "cpu"


def main(device: str, kind: str, folder: Path) -> None:
    """Make one run and print it."""
    if device != CPU:
        # Before anything imports torch: it looks for a runtime once.
        ctypes.CDLL(device, mode=ctypes.RTLD_GLOBAL)
        from tests.card import card

        card.install()
    from tests.card.runs import run_of

    record = run_of(kind, folder).record
    operations = 0 if device == CPU else card.operations
    print(json.dumps({"record": json.loads(record.to_json()), "operations": operations}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))

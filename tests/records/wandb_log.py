"""What an offline W&B run left, read back from its own file."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7


def wandb_records(path: Path) -> Iterator[Any]:
    """Records of a ``.wandb`` file: LevelDB's log format behind a header of seven bytes."""
    data, at, parts = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        at += HEADER + length
        if at > len(data):
            return  # still being written
        parts += data[at - length : at]
        if kind in (1, 4):  # whole, or the last part
            made = Record()
            made.ParseFromString(parts)
            parts = b""
            yield made


def finished_records(place: Path) -> list[Any]:
    """W&B's service writes on after ``finish()`` has returned; the last record says exit."""
    (log,) = place.glob("*.wandb")
    for _ in range(300):
        found = list(wandb_records(log))
        if found and found[-1].HasField("exit"):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{log} was not finished")


class OfflineRun:
    """One offline run on disk.

    Args:
        place: Its folder.
        whole: Wait for its end.
    """

    def __init__(self, place: Path, *, whole: bool = True) -> None:
        self.place = place
        (log,) = place.glob("*.wandb")
        self.records = finished_records(place) if whole else list(wandb_records(log))

    @property
    def run(self) -> Any:
        """Id, name, group, tags, config at the beginning."""
        return next(item.run for item in self.records if item.HasField("run"))

    @property
    def exit_code(self) -> int:
        return int(self.records[-1].exit.exit_code)

    def config(self) -> dict[str, Any]:
        updates = [self.run.config]
        updates += [item.config for item in self.records if item.HasField("config")]
        return {
            entry.key: json.loads(entry.value_json) for item in updates for entry in item.update
        }

    def summary(self) -> dict[str, Any]:
        """Keys that were set, and what the last row of the history says of the others."""
        updates = [item.summary for item in self.records if item.HasField("summary")]
        entries = [entry for item in updates for entry in item.update]
        return {
            entry.key or ".".join(entry.nested_key): json.loads(entry.value_json)
            for entry in entries
        }

    def history(self) -> list[dict[str, Any]]:
        rows = [item.history for item in self.records if item.HasField("history")]
        return [
            {
                entry.key or ".".join(entry.nested_key): json.loads(entry.value_json)
                for entry in row.item
            }
            for row in rows
        ]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Name -> rows."""
        found: dict[str, list[dict[str, Any]]] = {}
        for path in self.place.rglob("*.table.json"):
            content = json.loads(path.read_text())
            rows = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
            found[path.name.partition("_")[0]] = rows
        return found

    def artifacts(self) -> dict[str, Any]:
        """Name -> artifact, without tables."""
        found = [item.artifact for item in self.records if item.HasField("artifact")]
        return {item.name: item for item in found if item.type != "run_table"}

    def stats(self) -> int:
        """How often the machine's load was measured."""
        return sum(item.HasField("stats") for item in self.records)

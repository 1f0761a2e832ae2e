"""What the cache below a root keeps, which runs it was for, and since when nobody asked for it."""

from __future__ import annotations

import os
import stat
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ssah_exp.cache import PARTIAL, Cache, last_use
from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.folders import holding, listed
from ssah_exp.records.store import RECORD, read_record

DAY = 86400.0


@dataclass(frozen=True)
class Kept:
    """One entry of the cache, or the unfinished work on one.

    Attributes:
        stage: The stage that made it.
        key: Its content address.
        whole: False for unfinished work: checkpoints and answers of a run that was ended.
        size: Bytes of its files.
        frees: Bytes that deleting it would free: files that a run's folder shares stay there.
        used: When it was last made or found, in seconds since the epoch.
        runs: Every ``ARTEFACT/RUN`` whose record names it.
    """

    stage: str
    key: str
    whole: bool
    size: int
    frees: int
    used: float
    runs: tuple[str, ...]

    @property
    def named(self) -> bool:
        """Whether a record names it, or a run's folder shares its files."""
        return bool(self.runs) or (self.whole and self.frees < self.size)

    def days(self) -> float:
        """For how many days nobody has asked for it."""
        return max(time.time() - self.used, 0.0) / DAY


def contents(root: Path) -> list[Kept]:
    """Everything below ``root/cache`` that a stage would compute anew, by stage and key.

    What judges said (``judgements``) is no such thing and is left out.

    Raises:
        StoreError: A record or the cache cannot be read. Without every record it is not known
            which entries no run names.
    """
    runs = _runs_by_key(root)
    return [
        kept
        for stage in listed(root / "cache")
        for folder in listed(stage)
        if (kept := _kept(folder, runs)) is not None
    ]


def chosen(
    items: Iterable[Kept], stages: Collection[str], unused_for: float, *, unnamed: bool
) -> list[Kept]:
    """Those that may go.

    Args:
        items: From :func:`contents`.
        stages: Only of these; empty = of all.
        unused_for: Only those that nobody has asked for in so many days.
        unnamed: Only those that no run names.

    Raises:
        ConfigError: There is nothing of such a stage.
    """
    items = list(items)
    there = {item.stage for item in items}
    for stage in stages:
        if stage not in there:
            raise ConfigError(f"The cache holds no stage '{stage}'.{did_you_mean(stage, there)}")
    return [
        item
        for item in items
        if (not stages or item.stage in stages)
        and item.days() >= unused_for
        and not (unnamed and item.named)
    ]


def delete(root: Path, items: Iterable[Kept]) -> Iterator[tuple[Kept, bool]]:
    """Delete one after the other; with each comes whether it went, or is in use after all.

    Raises:
        StoreError: One may not be deleted.
    """
    cache = Cache(root / "cache")
    for item in items:
        yield item, cache.discard(item.stage, item.key, whole=item.whole, used=item.used)


def _runs_by_key(root: Path) -> Mapping[str, list[str]]:
    runs: dict[str, dict[str, None]] = defaultdict(dict)  # two stages may share an entry
    for artefact in listed(root / "runs"):
        for path in holding(artefact, RECORD):
            for stage in read_record(path).stages:
                runs[stage.key][f"{artefact.name}/{path.parent.name}"] = None
    return {key: list(names) for key, names in runs.items()}


def _kept(folder: Path, runs: Mapping[str, list[str]]) -> Kept | None:
    used = last_use(folder)
    if used is None:
        return None
    files = list(_files(folder))
    key = folder.name.removeprefix(PARTIAL)
    return Kept(
        stage=folder.parent.name,
        key=key,
        whole=key == folder.name,
        size=sum(file.st_size for file in files),
        frees=sum(file.st_size for file in files if file.st_nlink == 1),
        used=used,
        runs=tuple(runs.get(key, ())) if key == folder.name else (),
    )


def _files(folder: Path) -> Iterator[os.stat_result]:
    for path in folder.rglob("*"):
        with suppress(OSError):  # a running job has taken it away since
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                yield found

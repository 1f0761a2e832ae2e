"""What the cache below a root keeps, which runs it was for, and since when nobody asked for it."""

from __future__ import annotations

import os
import stat
import time
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ssah_exp.discarding import UNFINISHED, below, discard, last_use
from ssah_exp.errors import ConfigError, SsahWarning, StoreError, did_you_mean
from ssah_exp.evaluation.judges.memory import judgements_folder
from ssah_exp.folders import listed
from ssah_exp.records.store import RECORD, read_record

DAY = 86400.0
IN_USE = "in use"


@dataclass(frozen=True)
class Kept:
    """One entry of the cache, or unfinished work.

    Attributes:
        folder: Where it lies.
        size: Bytes of its files.
        frees: Bytes that deleting it would free: files that a run's folder shares stay there.
        used: When it was last made, found or worked on, in seconds since the epoch.
        runs: Every ``ARTEFACT/RUN`` whose record names it.
    """

    folder: Path
    size: int
    frees: int
    used: float
    runs: tuple[str, ...]

    @property
    def stage(self) -> str:
        """The stage that made it."""
        return self.folder.parent.name

    @property
    def whole(self) -> bool:
        """False for what runs that were ended left: checkpoints, answers, half-made entries."""
        return not self.folder.name.startswith(UNFINISHED)

    @property
    def shared(self) -> bool:
        """Whether a run's folder holds its files, too."""
        return self.whole and self.frees < self.size

    @property
    def named(self) -> bool:
        """Whether a finished run needs it: by its record, or since its folder shares the files."""
        return bool(self.runs) or self.shared

    def days(self) -> float:
        """For how many days nobody has asked for it."""
        return max(time.time() - self.used, 0.0) / DAY


def contents(root: Path, *, every_record: bool) -> list[Kept]:
    """Everything below ``root/cache`` that a stage would compute anew, by stage and name.

    Args:
        root: Where runs and their cache lie.
        every_record: Refuse to go on where a record cannot be read, since that run's entries would
            pass for nobody's; otherwise warn.

    Raises:
        StoreError: The cache may not be read, or a record cannot.
    """
    runs = _runs_by_key(root, strict=every_record)
    return [
        kept
        for stage in stages(root)
        for folder in listed(stage)
        if (kept := _kept(folder, runs)) is not None
    ]


def stages(root: Path) -> list[Path]:
    """The stages' folders; what judges said is no stage, and computing cannot bring it back."""
    said = judgements_folder(root)
    return [place for place in listed(root / "cache") if place != said and place.is_dir()]


def chosen(root: Path, names: Collection[str], unused_for: float, *, unnamed: bool) -> list[Kept]:
    """Those that may go.

    Args:
        root: Where runs and their cache lie.
        names: Of stages; empty = of all.
        unused_for: Only those that nobody has asked for in so many days.
        unnamed: Only those that no finished run needs.

    Raises:
        ConfigError: There is no such stage.
        StoreError: See :func:`contents`.
    """
    there = [place.name for place in stages(root)]
    for name in names:
        if name not in there:
            raise ConfigError(f"The cache has no stage '{name}'.{did_you_mean(name, there)}")
    return [
        item
        for item in contents(root, every_record=unnamed)
        if (not names or item.stage in names)
        and item.days() >= unused_for
        and not (unnamed and item.named)
    ]


def delete(items: Iterable[Kept]) -> Iterator[tuple[Kept, str | None]]:
    """Delete one after the other; with each comes why it was left, None if it went."""
    for item in items:
        try:
            yield item, None if discard(item.folder, item.used) else IN_USE
        except StoreError as error:  # another user's; the next may be ours
            yield item, str(error)


def _runs_by_key(root: Path, *, strict: bool) -> Mapping[str, list[str]]:
    runs: dict[str, dict[str, None]] = defaultdict(dict)  # two stages may share an entry
    for artefact in listed(root / "runs"):
        for place in listed(artefact):
            try:
                keys = _keys(place / RECORD)
            except StoreError as error:
                if strict:
                    raise
                said = f"{error} Its entries count as nobody's here."
                warnings.warn(said, SsahWarning, stacklevel=2)
                continue
            for key in keys:
                runs[key][f"{artefact.name}/{place.name}"] = None
    return {key: list(names) for key, names in runs.items()}


def _keys(record: Path) -> list[str]:
    """What a run's record names; nothing if the run has none yet.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        record.stat()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(f"{record} cannot be read: {error.strerror}.") from error
    return [stage.key for stage in read_record(record).stages]


def _kept(folder: Path, runs: Mapping[str, list[str]]) -> Kept | None:
    used = last_use(folder)
    if used is None:
        return None
    files = list(_files(folder))
    size = sum(file.st_size for file in files)
    frees = sum(file.st_size for file in files if file.st_nlink == 1)
    return Kept(folder, size, frees, used, tuple(runs.get(folder.name, ())))


def _files(folder: Path) -> Iterator[os.stat_result]:
    for path in below(folder):
        with suppress(OSError):  # a running job has taken it away since
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                yield found

"""A lock between processes that may run on different nodes of a shared file system.

The lock is a folder that holds one file named after its owner's token. Three steps decide who has
it, each a single rename or unlink, which the file server carries out as a whole:

- *take*: rename a prepared folder onto the lock's name; fails while the lock's folder has a file.
- *take over* from a dead owner: rename the file named after its token to one named after ours. Of
  many that try, one finds the file; a process whose judged owner has gone since finds nothing.
- *release*: unlink our file.

While the lock is held, a thread appends a byte to the file every few seconds. An owner on this
machine is dead when its process is; any other, when its file has not changed for ``patience``
seconds of our own monotonic clock. No two clocks are compared, so a clock that jumps does no harm.

A lock saves work, it does not guard correctness: an owner that was taken for dead and wakes up
finds the work done by another, see :mod:`ssah_exp.cache`.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ssah_exp.owner import Owner, work_name
from ssah_exp.storage import storage_errors

BEAT, PATIENCE, POLL = 5.0, 120.0, 0.5  # seconds
_HELD = (errno.ENOTEMPTY, errno.EEXIST)
_FORBIDDEN = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class _Sight:
    """What an observer saw of the owner: its file, and ``pulse``, which changes with each beat."""

    file: Path
    owner: Owner | None
    pulse: tuple[bytes, int]

    @property
    def who(self) -> str:
        return "another process" if self.owner is None else str(self.owner)


class Lock:
    """A lock at ``folder``, taken by ``with``.

    Args:
        folder: Where the lock lies; its parent must exist.
        what: What the lock guards, for the message to those who wait.
        say: Gets one line when this process starts to wait, and one when it takes over.
        beat: Seconds between two signs of life.
        patience: Seconds without such a sign after which an owner elsewhere counts as dead; more
            than a network file system may hide a change (a minute, for NFS).
        poll: Seconds between two looks.
    """

    def __init__(
        self,
        folder: Path,
        what: str,
        say: Callable[[str], None] = lambda line: None,
        *,
        beat: float = BEAT,
        patience: float = PATIENCE,
        poll: float = POLL,
    ) -> None:
        self._folder = folder
        self._what = what
        self._say = say
        self._beat = beat
        self._patience = patience
        self._poll = poll
        self._owner: Owner | None = None
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None

    def __enter__(self) -> Lock:
        """Take the lock; wait for as long as its present owner lives.

        Raises:
            OSError: The folder cannot be written, or another user's file there cannot be read.
        """
        self._owner = Owner.me()
        try:
            self._wait_for(self._owner)
            self._start_beating()
        except BaseException:  # no block follows, so nobody else would give it back
            self._release()
            raise
        return self

    def take_at_once(self) -> bool:
        """Take the lock without waiting; False if a living process has it.

        An owner that one look finds dead is put aside, and only that one: not somebody who came
        meanwhile.
        """
        self._owner = me = Owner.me()
        seen = _look(self._folder)
        free = seen is None or not seems_held(self._folder)
        taken = free and (self._take(me) if seen is None else self._take_over(seen, me))
        if taken:
            self._start_beating()
        return taken

    def _start_beating(self) -> None:
        self._heart = threading.Thread(target=self._keep_beating, daemon=True)
        self._heart.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """See :meth:`give_back`."""
        self.give_back()

    def give_back(self) -> None:
        """Release the lock, if it is still ours."""
        self._stop.set()
        if self._heart is not None:
            self._heart.join()
        self._release()

    def _wait_for(self, me: Owner) -> None:
        """Take the lock, or take it over, as soon as one of them can be done."""
        watch = _Watch(self._patience)
        while True:
            # To look is one reading; to try and fail would be five writings, by all who wait.
            seen = _look(self._folder)
            if seen is None:
                if self._take(me):
                    return
            elif watch.dead(seen) and self._take_over(seen, me):
                self._say(f"{seen.who} died over {self._what}; taking over")
                return
            elif watch.first:
                self._say(f"waiting for {seen.who}, which works on {self._what}")
            time.sleep(self._poll)

    def _release(self) -> None:
        with suppress(OSError):  # never ours, taken over, or the next owner's already
            self._file.unlink()
            self._folder.rmdir()

    @property
    def _file(self) -> Path:
        assert self._owner is not None
        return self._folder / self._owner.token

    def _take(self, me: Owner) -> bool:
        # Named like the cache's work folders, and in there cleared with them if this process is
        # killed.
        prepared = self._folder.with_name(work_name())
        try:
            prepared.mkdir()
            (prepared / me.token).write_text(f"{me.to_json()}\n", encoding="utf-8")
            prepared.rename(self._folder)
        except OSError as error:
            shutil.rmtree(prepared, ignore_errors=True)
            if error.errno in _HELD:
                return False
            raise
        return True

    def _take_over(self, seen: _Sight, me: Owner) -> bool:
        try:
            seen.file.rename(self._file)
        except FileNotFoundError:
            return False
        # Until this line is written, others see an owner they cannot name and watch its pulse.
        with self._file.open("w", encoding="utf-8") as stream:
            stream.write(f"{me.to_json()}\n")
        return True

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._beat):
            try:
                descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND)  # never creates it
            except OSError:
                continue
            try:
                os.write(descriptor, b".")
            except OSError:  # a full disk: the change of time is a sign of life as well
                with suppress(OSError):
                    os.utime(descriptor)
            finally:
                os.close(descriptor)


def _look(folder: Path) -> _Sight | None:
    """The owner as it appears now; None if there is none.

    Raises:
        PermissionError: The lock may not be read.
    """
    try:
        for file in folder.iterdir():
            content = file.read_bytes()  # opening it makes a network file system look afresh
            owner = Owner.from_json(content.partition(b"\n")[0].decode("utf-8", "replace"))
            if owner is not None and owner.token != file.name:
                owner = None  # in the middle of a take-over
            return _Sight(file, owner, (content, file.stat().st_mtime_ns))
    except OSError as error:  # released at this moment, or a passing fault: the next look tells
        if error.errno in _FORBIDDEN:
            raise
    return None


def owner_of(folder: Path) -> Owner | None:
    """Who holds the lock at ``folder``; None if nobody does, or it cannot be told."""
    with suppress(OSError):
        seen = _look(folder)
        return None if seen is None else seen.owner
    return None


def seems_held(folder: Path) -> bool:
    """Whether a living process holds the lock at ``folder``, judged by a single look.

    An owner whose process cannot be asked about (on another machine, or from before this one's
    last boot) lives if its file changed less than ``PATIENCE`` seconds ago. That is measured by a
    file made beside the lock just now, so that both times are the file system's. If none can be
    made there, or the owner's file may not be read, the owner counts as living.
    """
    try:
        seen = _look(folder)
    except OSError:
        return True
    if seen is None:
        return False
    lives = None if seen.owner is None else seen.owner.lives()
    if lives is not None:
        return lives
    probe = folder.with_name(work_name())
    try:
        probe.touch()
        silent = (probe.stat().st_mtime_ns - seen.pulse[1]) / 1e9
    except OSError:
        return True
    finally:
        with suppress(OSError):
            probe.unlink()
    return silent < PATIENCE


class _Watch:
    """Judges owners by what changes while this process watches."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._last: _Sight | None = None
        self._since = 0.0
        self.first = False

    def dead(self, seen: _Sight) -> bool:
        """Whether the owner is known to be dead; sets ``first`` to whether it is a new owner."""
        now = time.monotonic()
        self.first = self._last is None or seen.file != self._last.file
        if self._last is None or (seen.file, seen.pulse) != (self._last.file, self._last.pulse):
            self._last, self._since = seen, now
        lives = None if seen.owner is None else seen.owner.lives()
        if lives is not None:
            return not lives
        return now - self._since >= self._patience


@contextmanager
def held(folder: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at ``folder`` while the block lasts; missing parent folders are made.

    Raises:
        StoreError: The place may not be written to, or is full.
    """
    with ExitStack() as stack:
        with storage_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(Lock(folder, what, say))
        yield


@contextmanager
def held_at_once(folder: Path) -> Iterator[bool]:
    """Hold the lock at ``folder`` while the block lasts, or give it False: somebody has it."""
    lock = Lock(folder, "")
    taken = lock.take_at_once()
    try:
        yield taken
    finally:
        if taken:
            lock.give_back()

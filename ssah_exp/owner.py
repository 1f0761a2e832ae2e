"""Who holds a lock or runs a job, said so that another process can tell whether it still lives."""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """One process, told apart from every other, even from a later one with the same pid.

    Attributes:
        host: Name of its machine.
        pid: Its process id.
        boot: Id of the machine's boot; empty where the system has none.
        space: Its pid namespace, since two containers of a host may both have a process 7; empty
            where the system has none.
        started: Start of the process in clock ticks since that boot; 0 = not known.
        token: Drawn anew for each owner.
    """

    host: str
    pid: int
    boot: str
    space: str
    started: int
    token: str

    @classmethod
    def me(cls) -> Owner:
        """This process, with a new token."""
        pid = os.getpid()
        boot, space = _boot(), _pid_space()
        return cls(socket.gethostname(), pid, boot, space, _start_of(pid) or 0, uuid.uuid4().hex)

    @classmethod
    def from_json(cls, text: str) -> Owner | None:
        """Undo :meth:`to_json`; None if the text is something else."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def lives(self) -> bool | None:
        """Whether the process still runs; None = it cannot be told from here.

        To tell needs the same boot of the same machine and the same pid namespace, and that the
        system does not hide other users' processes, as clusters may (``hidepid``).
        """
        here = self.host == socket.gethostname() and self.space == _pid_space()
        if not here or not self.boot or self.boot != _boot():
            return None
        started = _start_of(self.pid)
        if started is None and _hidden(self.pid):
            return None
        return started == self.started

    def __str__(self) -> str:
        """Pid and host, in words."""
        return f"process {self.pid} on {self.host}"


def work_name() -> str:
    """A new name for a private folder, from which :func:`abandoned` tells whose it is."""
    return f"{_work_of_here()}{os.getpid()}-{uuid.uuid4().hex[:8]}"


def abandoned(name: str) -> bool:
    """Whether a folder named by :func:`work_name` is known to belong to a dead process.

    Nothing is known of other pid namespaces, hosts (whose names may begin like this one's) or
    boots: machines that share a file system may share a name as well, and pid namespaces are
    numbered alike on all of them.
    """
    found = re.fullmatch(rf"{re.escape(_work_of_here())}(\d+)-[0-9a-f]{{8}}", name)
    return found is not None and not _runs(int(found[1]))


def _work_of_here() -> str:
    space, boot = re.sub(r"[^0-9]", "", _pid_space()), _boot().replace("-", "")[:8]
    return f".work-{socket.gethostname()}-{space or 0}-{boot or 0}-"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _hidden(pid: int) -> bool:
    """Whether it is another user's process that ``/proc`` does not show."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not Path(f"/proc/{pid}").exists()
    except OSError:
        return False
    return False


@cache
def _boot() -> str:
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text(encoding="ascii").strip() if file.is_file() else ""


def _pid_space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_of(pid: int) -> int | None:
    """Start of a process in clock ticks since boot; None if it does not run (or is a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name in brackets may hold anything
    return None if state in "ZX" else int(fields[18])

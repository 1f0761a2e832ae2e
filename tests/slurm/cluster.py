"""A real Slurm of one node on the loopback interface, for tests: start it, stop it.

    python tests/slurm/cluster.py install      # Debian's packages, if they are missing
    python tests/slurm/cluster.py start DIR    # prints the SLURM_CONF to use
    python tests/slurm/cluster.py stop DIR

Runs as root, without cgroups, accounting or systemd; keys, sockets, spool and logs lie in DIR.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
DAEMONS = ("slurmd", "slurmctld", "munged")  # in the order they are stopped
NODE, CTLD_PORT, SLURMD_PORT = "node0", 16817, 16818

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# How long a job that was queued again waits before it starts; 120 s by default.
AuthInfo=socket={place}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=200000,batch_sched_delay=0
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
ReturnToService=2
KillWait=5
InactiveLimit=0
MinJobAge=300
MessageTimeout=5
# The sweep of eight jobs becomes two arrays.
MaxArraySize=5
SlurmctldTimeout=10
SlurmdTimeout=15
# More jobs at once than the machine has cores.
SlurmdParameters=config_overrides
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=tests Nodes={node} Default=YES MaxTime=60 State=UP OverSubscribe=NO
"""


def missing() -> list[str]:
    """Programs that are not installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def install() -> bool:
    """Install Debian's packages if something is missing; whether all is there in the end."""
    if missing() and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        packages = ["slurm-wlm", "munge"]
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
        ):
            subprocess.run(command, env=environment, check=False, stdout=sys.stderr)
    return not missing()


def start(place: Path, cpus: int = 4) -> Path:
    """Start munged, slurmctld and slurmd; return the slurm.conf once the node is idle.

    Raises:
        RuntimeError: The node did not come up; the logs lie in ``place``.
    """
    for name in ("state", "spool"):
        (place / name).mkdir(parents=True, exist_ok=True)
    place.chmod(0o755)  # munged refuses a socket below a folder that others may write
    conf = place / "slurm.conf"
    host = os.uname().nodename
    conf.write_text(
        CONF.format(
            place=place,
            host=host,
            node=NODE,
            cpus=cpus,
            ctld_port=CTLD_PORT,
            slurmd_port=SLURMD_PORT,
        )
    )
    key = place / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    _daemon(
        place,
        "munged",
        *(f"--key-file={key}", f"--socket={place}/munge.socket", f"--pid-file={place}/munged.pid"),
        *(f"--log-file={place}/munged.log", f"--seed-file={place}/munged.seed", "--force"),
    )
    _daemon(place, "slurmctld", "-c", "-f", str(conf))
    _daemon(place, "slurmd", "-N", NODE, "-f", str(conf))
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if ask(conf, "sinfo", "-h", "-o", "%t").strip() == "idle":
            return conf
        time.sleep(0.2)
    stop(place)
    raise RuntimeError(f"The Slurm node did not come up; see the logs in {place}")


def start_slurmctld(place: Path) -> None:
    """Start the controller again after it was stopped."""
    _daemon(place, "slurmctld", "-f", str(place / "slurm.conf"))


def stop(place: Path, *names: str) -> None:
    """Stop the daemons by the pids they wrote; all of them, or the named ones."""
    for name in names or DAEMONS:
        file = place / f"{name}.pid"
        if not file.is_file():
            continue
        pid = int(file.read_text())
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break
            if _gone(pid, 5.0):
                break
        file.unlink(missing_ok=True)


def ask(conf: Path, *command: str) -> str:
    """What a Slurm program prints; empty if it fails."""
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout


def _daemon(place: Path, name: str, *arguments: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(place / "slurm.conf")}
    with (place / f"{name}.out").open("a") as out:
        subprocess.run(
            [name, *arguments], env=environment, check=True, stdout=out, stderr=out, cwd=place
        )


def _gone(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def main(arguments: list[str]) -> int:
    """The script."""
    if arguments == ["install"]:
        if install():
            return 0
        print(f"missing: {', '.join(missing())}", file=sys.stderr)
        return 1
    if len(arguments) == 2 and arguments[0] == "start":
        print(f"export SLURM_CONF={start(Path(arguments[1]).absolute())}")
        return 0
    if len(arguments) == 2 and arguments[0] == "stop":
        stop(Path(arguments[1]).absolute())
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

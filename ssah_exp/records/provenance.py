"""The code, packages and machine that a run was made with."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ssah_exp import __version__, ranks

PACKAGES = (
    "torch",
    "transformers",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "datasets",
    "wandb",
    "pandas",
    "numpy",
    "scipy",
    "statsmodels",
    "safetensors",
    "tokenizers",
    "accelerate",
    "gguf",
    "scikit-learn",
)

# Listed only where they are installed: extras, and what an engine or a judge works through.
OPTIONAL = ("bitsandbytes", "httpx", "lm-eval", "peft", "vllm")


def now() -> str:
    """The present time, ISO, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def package_version(name: str) -> str | None:
    """Installed version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def package_versions() -> dict[str, str | None]:
    """Versions by name; a missing package is None if required, and left out if optional."""
    optional = {name: package_version(name) for name in OPTIONAL}
    return {
        **{name: package_version(name) for name in PACKAGES},
        **{name: found for name, found in optional.items() if found is not None},
    }


def code_version() -> dict[str, Any]:
    """Package version and, in a checkout, the commit and whether it was edited since."""
    checkout = Path(__file__).resolve().parents[2]
    commit = _git(checkout, "rev-parse", "HEAD")
    status = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    dirty = None if commit is None or status is None else bool(status)
    return {"version": __version__, "commit": commit, "dirty": dirty}


def _git(folder: Path, *arguments: str) -> str | None:
    if not (folder / ".git").exists():
        return None
    # `status` would lock the index to refresh it, and a job killed meanwhile would leave the lock.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def hardware() -> dict[str, Any]:
    """Platform, Python, processor, threads, GPUs and number of processes; no host or user name."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": gpus,
        "processes": ranks.count(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def provenance() -> dict[str, Any]:
    """Code, packages and machine, for the record."""
    code, packages = _imported()
    return {"code": {**code}, "packages": {**packages}, "hardware": hardware()}


@cache
def _imported() -> tuple[dict[str, Any], dict[str, str | None]]:
    """Code and packages, looked up once: a process keeps what it imported for all of its runs.

    In a fresh clone, git reads every file to say whether one was edited: a sixth of a second.
    """
    return code_version(), package_versions()

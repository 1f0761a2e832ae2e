"""Sweeps of tiny runs through the console command, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ssah_exp.cli import main
from ssah_exp.config.schema import RunConfig
from ssah_exp.sweeps.finding import sweeps_below
from ssah_exp.sweeps.folder import Sweep
from tests.pipeline.tiny_run import save_data, save_model, tiny_config

GROUPS = ("model", "data", "alignment", "units", "ablation", "evaluation")


def write_conf(folder: Path, config: RunConfig) -> None:
    """``experiment=tiny`` for ``--config-dir``: whole groups, so that no default shines through."""
    content = asdict(config)
    for group in GROUPS:
        path = folder / group / "tiny.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content[group]), encoding="utf-8")
    chosen = [{f"override /{group}": "tiny"} for group in GROUPS]
    others = [{"override /tracker": "none"}, {"override /trainer": "cpu"}]
    experiment = {"defaults": [*chosen, *others], "artefact": config.artefact}
    path = folder / "experiment" / "tiny.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# @package _global_\n{yaml.safe_dump(experiment)}", encoding="utf-8")


@dataclass(frozen=True)
class Bench:
    """A place with a tiny model, tiny data, a conf folder and a root.

    Attributes:
        place: Everything lies below it.
        root: Where runs go.
    """

    place: Path
    root: Path

    @classmethod
    def made(cls, place: Path) -> Bench:
        save_model(place / "model")
        save_data(place / "data")
        write_conf(place / "conf", tiny_config(place))
        return cls(place, place / "root")

    def arguments(self, *more: str) -> list[str]:
        """Of ``run``."""
        conf = ["--config-dir", str(self.place / "conf")]
        flags = [item for item in more if item.startswith("-")]  # argparse wants them together
        rest = [item for item in more if item not in flags]
        return ["run", *conf, *flags, "experiment=tiny", f"paths.root={self.root}", *rest]

    def run(self, *arguments: str) -> int:
        """The command within this process: no start of Python to wait for."""
        return main(list(arguments))

    def start(self, *arguments: str, **changes: Any) -> subprocess.Popen[str]:
        """The command in a process of its own."""
        package = Path(__file__).resolve().parents[2]
        environment = {
            **os.environ,
            "SSAH_ROOT": str(self.root),
            "PYTHONPATH": str(package),
            "OMP_NUM_THREADS": "1",
            **changes,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "ssah_exp", *arguments],
            cwd=self.place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Start and wait."""
        process = self.start(*arguments, **changes)
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def sweep(self) -> Sweep:
        """The newest."""
        return sweeps_below(self.root)[-1]

    def status(self, *arguments: str) -> dict[str, Any]:
        """What ``status --format json`` says."""
        done = self.call("status", "--format", "json", *arguments)
        assert done.returncode == 0, done.stderr
        content: dict[str, Any] = json.loads(done.stdout)
        return content

"""experiments/commands.yaml gives the run id of every committed record, and no other."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssah_exp.config.identity import run_id
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.unread import refuse_unread
from ssah_exp.models.gguf import gguf_fingerprint
from tests.config.composing import config_of, jobs_of
from tests.thinning import thinned

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "experiments"
COMMANDS: dict[str, list[str]] = yaml.safe_load((EXPERIMENTS / "commands.yaml").read_text())
# Its config lacks a key whose default was another one then.
OF_OLDER_CONFIGS = {"2cff27aa47f8"}


def records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "config" in content:
            yield content


def jobs(command: str) -> Iterator[RunConfig]:
    """The configs of a command's jobs; those that differ in the seed alone are composed once."""
    words = [word for word in shlex.split(command.replace("\\\n", " "))[2:] if word != "-m"]
    (seeds,) = (word for word in words if word.startswith("seed="))
    for job in jobs_of([word for word in words if word != seeds]):
        config = config_of(*job)
        refuse_unread([(config, job)])
        for seed in seeds.removeprefix("seed=").split(","):
            yield replace(config, seed=int(seed))


def test_no_folder_of_records_is_left_out() -> None:
    folders = {
        str(path.parent.relative_to(EXPERIMENTS))
        for path in EXPERIMENTS.rglob("*.json")
        if any(records(path.parent))
    }
    assert set(COMMANDS) == folders
    assert len(folders) > 60


@pytest.mark.parametrize("folder", thinned(COMMANDS))
def test_the_commands_of_a_folder_make_its_records(folder: str) -> None:
    there = list(records(EXPERIMENTS / folder))
    assert there
    configs = [config for command in COMMANDS[folder] for config in jobs(command)]
    made: set[str] = set()
    for config in configs:
        (found,) = (
            record["run_id"]
            for record in there
            if record["seed"] == config.seed
            and run_id(config, record["inputs"]) == record["run_id"]
        )
        made.add(found)
    assert made == {record["run_id"] for record in there} - OF_OLDER_CONFIGS
    assert len(made) == len(configs), "no job is there twice"


def test_the_files_that_were_measured_have_the_checksums_that_the_configs_tell() -> None:
    configs = [path.read_text(encoding="utf-8") for path in (ROOT / "conf/model").glob("*.yaml")]
    told = [sha for text in configs for sha in re.findall(r"sha256:? ([0-9a-f]{64})", text)]
    measured = {
        record["models"]["base"]["fingerprint"]
        for folder in COMMANDS
        for record in records(EXPERIMENTS / folder)
    }
    assert measured == {gguf_fingerprint(sha256) for sha256 in told}
    page = (EXPERIMENTS / "came_aligned" / "README.md").read_text(encoding="utf-8")
    assert sum(f"`{fingerprint[:12]}`" in page for fingerprint in measured) == 2
